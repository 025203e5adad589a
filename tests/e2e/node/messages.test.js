// The Messages API as the TypeScript SDK sees it: what comes through the gateway equals what comes directly.
// ../stack.py starts both sides and says where they are.
import Anthropic from "@anthropic-ai/sdk";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

const apiKey = process.env.HEADGATE_E2E_KEY;
const client = (baseURL, options = {}) => new Anthropic({ baseURL, apiKey, maxRetries: 0, ...options });
const direct = client(process.env.HEADGATE_E2E_SIMULATOR);
const gateway = client(process.env.HEADGATE_E2E_GATEWAY);

const model = "claude-sonnet-5";
const ask = (content, options = {}) => ({ model, max_tokens: 2000, messages: [{ role: "user", content }], ...options });
const weather = {
  name: "get_weather",
  input_schema: {
    type: "object",
    properties: { city: { type: "string" }, days: { type: "integer" } },
    required: ["city"],
  },
};
const time = { name: "get_time", input_schema: { type: "object", properties: { zone: { type: "string" } } } };
const thinking = { type: "enabled", budget_tokens: 1024 };
const pixel =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

const scenarios = {
  text: ask("Say something."),
  unicode: ask("[[sim:scenario=unicode]] Grüß Gott, 你好"),
  "many events": ask("[[sim:scenario=text,events=200]]"),
  tools: ask("[[sim:scenario=tools]]", { tools: [weather] }),
  "parallel tools": ask("[[sim:scenario=parallel_tools]]", { tools: [weather, time] }),
  "tool without input": ask("[[sim:scenario=tool_without_input]]", { tools: [time] }),
  thinking: ask("[[sim:scenario=thinking]]", { thinking }),
  "redacted thinking": ask("[[sim:scenario=redacted_thinking]]", { thinking }),
  refusal: ask("[[sim:scenario=refusal]]"),
  empty: ask("[[sim:scenario=empty]]"),
  citations: ask("[[sim:scenario=citations]]"),
  image: ask([
    { type: "image", source: { type: "base64", media_type: "image/png", data: pixel } },
    { type: "text", text: "What is this?" },
  ]),
};

// A value made comparable: ids that must differ lose their random part.
const plain = (value) =>
  JSON.parse(JSON.stringify(value), (_, each) =>
    typeof each === "string" && /^(msg|req)_/.test(each) ? each.slice(0, 4) : each,
  );

async function same(scenario) {
  const [wanted, got] = [plain(await scenario(direct)), plain(await scenario(gateway))];
  assert.deepEqual(got, wanted);
  return got;
}

async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

for (const [name, request] of Object.entries(scenarios)) {
  describe(name, () => {
    test("whole", async () => {
      const message = await same((side) => side.messages.create(request));
      assert.ok(message.stop_reason);
    });
    test("stream helper", async () => {
      const message = await same((side) => side.messages.stream(request).finalMessage());
      const whole = plain(await direct.messages.create(request));
      assert.deepEqual(message.content, whole.content);
    });
    test("raw stream", async () => {
      const events = await same(async (side) => collect(await side.messages.create({ ...request, stream: true })));
      assert.equal(events.at(0).type, "message_start");
      assert.equal(events.at(-1).type, "message_stop");
    });
  });
}

test("partial JSON of tools", async () => {
  const seen = await same(async (side) => {
    const snapshots = [];
    const stream = side.messages.stream(scenarios["parallel tools"]);
    stream.on("inputJson", (piece, snapshot) => snapshots.push([piece, snapshot]));
    return [snapshots, await stream.finalMessage()];
  });
  assert.ok(seen[0].length > 2);
});

for (const megabytes of [1, 30]) {
  test(`a body of ${megabytes} MB`, async () => {
    const text = "All work and no play makes a long body. ".repeat((megabytes * 1024 * 1024) / 40);
    const message = await same((side) => side.messages.stream(ask(text)).finalMessage());
    assert.ok(message.usage.input_tokens > megabytes * 100_000);
  });
}

test("count_tokens", async () => {
  const { messages, tools } = scenarios.tools;
  assert.ok((await same((side) => side.messages.countTokens({ model, messages, tools }))).input_tokens > 0);
});

test("models, page by page", async () => {
  const ids = await same(async (side) => (await collect(side.models.list({ limit: 3 }))).map(({ id }) => id));
  assert.equal(ids.length, 8);
  assert.equal((await same((side) => side.models.retrieve(model))).id, model);
});

test("beta namespace", async () => {
  const request = { ...scenarios.tools, betas: ["context-management-2025-06-27"] };
  await same((side) => side.beta.messages.create(request));
  await same((side) => side.beta.messages.stream(request).finalMessage());
});

test("a request id with every answer", async () => {
  for (const side of [direct, gateway]) {
    assert.match((await side.messages.create(ask("Id?")))._request_id, /^req_/);
  }
});

describe("errors", () => {
  const failure = async (call) => {
    try {
      await call();
    } catch (error) {
      assert.ok(error instanceof Anthropic.APIError, String(error));
      const { type, error: body } = error.error;
      assert.match(error.requestID, /^req_/);
      assert.equal(error.error.request_id, error.requestID);
      return [error.constructor.name, error.status, type, body];
    }
    throw new assert.AssertionError({ message: "the call succeeded" });
  };

  // Parks belong to a model class: each of these has one of its own, so that none is in another's way.
  const faults = {
    bad_request: [400, "invalid_request_error"],
    too_large: [413, "request_too_large"],
    unprocessable: [422, "invalid_request_error"],
    server_error: [500, "api_error"],
    unavailable: [503, "api_error"],
    overloaded: [529, "overloaded_error"],
  };
  Object.entries(faults).forEach(([fault, [status, type]], number) => {
    test(fault, async () => {
      const request = ask(`[[sim:fault=${fault}]]`, { model: `claude-error${number}-5` });
      const told = await same((side) => failure(() => side.messages.create(request)));
      assert.equal(told[1], status);
      assert.equal(told[3].type, type);
    });
  });

  test("all keys rate limited", async () => {
    const request = ask("[[sim:fault=rate_limited,retry_after=37]]", { model: "claude-limited-5" });
    for (const side of [direct, gateway]) {
      const error = await side.messages.create(request).catch((error) => error);
      assert.ok(error instanceof Anthropic.RateLimitError, String(error));
      const wait = Number(error.headers.get("retry-after"));
      assert.ok(wait >= 36 && wait <= 38, `retry-after: ${wait}`);
    }
  });

  test("in the middle of a stream", async () => {
    const prompt = "[[sim:scenario=text,events=20,pace_ms=10,fault=error_event,error_type=overloaded_error,after_deltas=5]]";
    const told = await same((side) => failure(() => side.messages.stream(ask(prompt)).finalMessage()));
    assert.equal(told[3].type, "overloaded_error");
  });

  test("an unknown model", async () => {
    const told = await same((side) => failure(() => side.messages.create(ask("x", { model: "gpt-nonesuch" }))));
    assert.equal(told[1], 404);
  });
});
