"""Writes the recorded streams of this folder: what Bedrock sends (`*.bin`) and what the caller gets (`*.sse`).

Run it with Python 3.10 or newer, without arguments. The texts are those of the Messages API's own recordings where they
exist; frames are written by hand after the specification, so that they do not depend on the code under test.
"""

import base64
import json
import struct
import zlib
from pathlib import Path

HERE = Path(__file__).parent
OURS = HERE / "streams"
THEIRS = HERE.parent.parent / "anthropic" / "testdata" / "streams"
METRICS = {"inputTokenCount": 21, "outputTokenCount": 17, "invocationLatency": 812, "firstByteLatency": 301}


def frame(headers, payload):
    lines = b"".join(
        struct.pack("!B", len(name.encode())) + name.encode() + struct.pack("!BH", 7, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    lengths = struct.pack("!II", len(lines) + len(payload) + 16, len(lines))
    prelude = lengths + struct.pack("!I", zlib.crc32(lengths))
    return prelude + lines + payload + struct.pack("!I", zlib.crc32(prelude + lines + payload))


def event(kind, payload):
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, payload)


def chunk(text, padding="abcdefghijkl"):
    wrapped = {"bytes": base64.b64encode(text.encode()).decode(), "p": padding}
    return event("chunk", json.dumps(wrapped, separators=(",", ":")).encode())


def exception(name, **told):
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, json.dumps(told).encode())


def error(code, message):
    return frame({":error-code": code, ":error-message": message, ":message-type": "error"}, b"")


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def sse(text):
    return f"event: {json.loads(text)['type']}\ndata: {text}\n\n"


def failed(kind, message):
    return sse_named("error", {"type": "error", "error": {"type": kind, "message": message}})


def sse_named(name, value):
    return f"event: {name}\ndata: {compact(value)}\n\n"


START = compact({"type": "message_start", "message": {"id": "msg_bdrk_1", "type": "message", "role": "assistant",
    "model": "claude-sonnet-4-5-20250929", "content": [], "stop_reason": None, "stop_sequence": None,
    "usage": {"input_tokens": 21, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1}}})
OPEN = compact({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
HELLO = compact({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}})
CLOSE = compact({"type": "content_block_stop", "index": 0})
DELTA = compact({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 17}})
STOP = compact({"type": "message_stop"})
PING = compact({"type": "ping"})


def stop_with(**metrics):
    return compact({"type": "message_stop", "amazon-bedrock-invocationMetrics": {**METRICS, **metrics}})


def both(*texts):
    """Frames, and the events they come to."""
    return b"".join(map(chunk, texts)), "".join(map(sse, texts))


def recorded():
    """The Messages API's own recordings, as Bedrock frames them: one event a chunk."""
    for path in sorted(THEIRS.glob("*.sse")):
        if path.stem in {"nameless", "comments_and_joined_data"}:
            continue  # what only server-sent events can be
        frames, events = b"", ""
        for block in path.read_text().split("\n\n")[:-1]:
            data = [line.removeprefix("data: ") for line in block.splitlines() if line.startswith("data: ")]
            if not data or not data[0].endswith("}"):
                continue
            frames += chunk(data[0])
            events += sse(data[0])
        ended = min((events.find(mark) for mark in ("event: message_stop\n", "event: error\n") if mark in events), default=None)
        if ended is not None:
            events = events[: events.index("\n\n", ended) + 2]
        yield path.stem, frames, events


def own():
    head, told = both(START, PING, OPEN, HELLO)
    tail, told_tail = both(CLOSE, DELTA)
    plain = sse(STOP)
    yield "metrics", head + tail + chunk(stop_with()), told + told_tail + plain
    yield ("metrics_of_caches", head + tail + chunk(stop_with(cacheReadInputTokenCount=900, cacheWriteInputTokenCount=64)),
           told + told_tail + plain)
    no_usage = compact({"type": "message_start", "message": {"id": "m", "type": "message", "content": []}})
    quiet = compact({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
    frames, events = both(no_usage, OPEN, HELLO, CLOSE, quiet)
    yield "metrics_alone_know", frames + chunk(stop_with()), events + plain
    first = '{"amazon-bedrock-invocationMetrics":{"inputTokenCount":21},"type":"message_stop"}'
    yield "metrics_first", head + tail + chunk(first), told + told_tail + plain
    for name, kind, message in [
        ("throttlingException", "rate_limit_error", "Too many requests, please wait before trying again."),
        ("serviceUnavailableException", "overloaded_error", "The service is temporarily unavailable."),
        ("modelTimeoutException", "timeout_error", "The model took too long."),
        ("internalServerException", "api_error", "An internal error occurred."),
        ("validationException", "invalid_request_error", "The input is too long."),
    ]:
        stem = name.removesuffix("Exception")
        yield f"first_{stem}", exception(name, message=message) + head, failed(kind, message)
        yield f"late_{stem}", head + exception(name, message=message) + tail, told + failed(kind, message)
    wrong = dict(message="The model failed.", originalStatusCode=500, originalMessage="x")
    yield "late_modelStreamError", head + exception("modelStreamErrorException", **wrong), told + failed("api_error", "The model failed.")
    busy = dict(message="Busy.", originalStatusCode=529, originalMessage="x")
    yield "first_modelStreamError_overloaded", exception("modelStreamErrorException", **busy), failed("overloaded_error", "Busy.")
    yield "held_throttling", b"".join(map(chunk, (START, PING, OPEN))) + exception("throttlingException", message="Too many tokens, please wait before trying again."), \
        "".join(map(sse, (START, PING, OPEN))) + failed("rate_limit_error", "Too many tokens, please wait before trying again.")
    yield "error_frame", head + error("InternalError", "An internal server error occurred"), told + failed("api_error", "An internal server error occurred")
    yield "new_exception", exception("brandNewException", message="x"), failed("api_error", "x")
    frames = chunk("{}") + chunk('{"type":null}') + chunk('{"type":7}') + chunk("[]") + chunk('"type"') + chunk('{"type":"a\\nb"}')
    yield "typeless", frames + head + frames + tail + chunk(STOP), told + told_tail + plain
    yield "new_kinds_of_frames", event("brandNew", b"{}") + frame({":message-type": "brandNew"}, b"") + frame({}, b"x") + head + tail + chunk(STOP), told + told_tail + plain
    pretty = json.dumps(json.loads(HELLO), indent=2).replace("\n", "\r\n")
    line = pretty.replace("\r", " ").replace("\n", " ")
    yield "pretty_json", head + chunk(pretty) + tail + chunk(STOP), told + f"event: content_block_delta\ndata: {line}\n\n" + told_tail + plain
    yield "cut_amid_frame", (head + tail)[:-9], told + sse(CLOSE)
    yield "cut_after_frame", head + tail, told + told_tail
    yield "after_message_stop", head + tail + chunk(stop_with()) + exception("throttlingException", message="late"), told + told_tail + plain
    broken = bytearray(head + tail + chunk(STOP))
    broken[len(head) + 40] ^= 1
    yield "corrupt", bytes(broken), told
    yield "not_base64", head + event("chunk", b'{"bytes":"%%%"}'), told
    yield "not_json", head + chunk('{"type":'), told
    yield "no_bytes", head + event("chunk", b'{"p":"abc"}'), told
    # Escapes in the wrapping, as JSON allows them.
    escaped = json.dumps({"bytes": base64.b64encode(HELLO.encode()).decode()}).replace("=", "\\u003d").encode()
    yield "escaped_base64", head + event("chunk", escaped) + tail + chunk(STOP), told + sse(HELLO) + told_tail + plain


def main():
    OURS.mkdir(exist_ok=True)
    for old in OURS.glob("*.*"):
        old.unlink()
    for name, frames, events in (*recorded(), *own()):
        (OURS / f"{name}.bin").write_bytes(frames)
        (OURS / f"{name}.sse").write_bytes(events.encode())


if __name__ == "__main__":
    main()
