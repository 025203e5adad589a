"""Every route of the admin API against hostile credentials, tricks of paths and headers, and roles that are too small."""

import json
import socket

import pytest

from stack import ROLES, Admin


@pytest.fixture(scope="module")
def guarded(scratch, _simulator):
    import stack

    with stack.AdminGateway(scratch, _simulator.url) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def operations(guarded):
    """(method, path, least role) of every operation, the id of a path being one that exists."""
    paths = guarded.admin().get("/openapi.json")["paths"]
    ids = {"keys": "org-a-1", "backends": "anthropic", "groups": "anthropic:org-a", "tokens": "the-admin"}
    return [
        (method.upper(), path.replace("{id}", ids.get(path.split("/")[3], "any")), operation["x-headgate-role"])
        for path, methods in paths.items()
        for method, operation in methods.items()
    ]


def raw(gateway, method, target, *lines, body=b""):
    """The status of a request whose lines are written as given; None where the connection ends without one."""
    head = [f"{method} {target} HTTP/1.1".encode("latin-1"), b"host: 127.0.0.1", b"connection: close"]
    head += [line if isinstance(line, bytes) else line.encode("latin-1") for line in lines]
    if body:
        head += [b"content-type: application/json", f"content-length: {len(body)}".encode()]
    with socket.create_connection(("127.0.0.1", gateway.ports[1]), timeout=20) as connection:
        try:
            connection.sendall(b"\r\n".join(head) + b"\r\n\r\n" + body)
            first = connection.makefile("rb").readline().split()
        except (BrokenPipeError, ConnectionResetError):
            return None
    return int(first[1]) if first else None


def forged(tokens):
    """Header lines that authenticate nobody, by what they are."""
    token = tokens["admin"]
    bearer = f"authorization: Bearer {token}"
    return {
        "missing": [],
        "empty": ["authorization:"],
        "no token": ["authorization: Bearer"],
        "only spaces": ["authorization: Bearer    "],
        "basic": ["authorization: Basic YWRtaW46YWRtaW4="],
        "the token as basic": [f"authorization: Basic {token}"],
        "the token alone": [f"authorization: {token}"],
        "another scheme": [f"authorization: Token {token}"],
        "no space": [f"authorization: Bearer{token}"],
        "colon": [f"authorization: Bearer: {token}"],
        "quoted": [f'authorization: Bearer "{token}"'],
        "prefix": [f"authorization: Bearer {token[:-1]}"],
        "longer": [f"authorization: Bearer {token}x"],
        "first symbol alone": [f"authorization: Bearer {token[0]}"],
        "upper case": [f"authorization: Bearer {token.upper()}"],
        "space within": [f"authorization: Bearer {token[:9]} {token[9:]}"],
        "tab within": [f"authorization: Bearer {token[:9]}\t{token[9:]}"],
        "twice in one": [f"authorization: Bearer {token} {token}"],
        "a list": [f"authorization: Bearer {token}, Bearer {token}"],
        "two headers": [bearer, bearer],
        "two headers, one wrong": ["authorization: Bearer wrong", bearer],
        "a parameter": [f"authorization: Bearer token={token}"],
        "x-api-key": [f"x-api-key: {token}"],
        "proxy-authorization": [f"proxy-authorization: Bearer {token}"],
        "a cookie": [f"cookie: authorization=Bearer {token}; token={token}"],
        "another name": [f"x-authorization: Bearer {token}", f"x-forwarded-authorization: Bearer {token}"],
        "underscore": [f"authorization_: Bearer {token}"],
        "NUL": [f"authorization: Bearer {token}\0"],
        "NUL within": [f"authorization: Bearer \0{token}"],
        "bare CR": [f"authorization: Bearer x\rauthorization: Bearer {token}"],
        "folded": ["authorization: Bearer", f" {token}"],
        "space before the colon": [f"authorization : Bearer {token}"],
        "not ASCII": ["authorization: Bearer \xff\xfe"],
        "percent": ["authorization: Bearer " + "".join(f"%{ord(symbol):02x}" for symbol in token)],
        "very long": ["authorization: Bearer " + "a" * 60_000],
        "too long": ["authorization: Bearer " + "a" * 2_000_000],
        "the digest": ["authorization: Bearer " + "0" * 64],
        "JWT of nobody": ["authorization: Bearer eyJhbGciOiJub25lIn0.eyJyb2xlIjoiYWRtaW4ifQ."],
        "injection": ["authorization: Bearer ' OR '1'='1"],
        "from this machine": ["x-forwarded-for: 127.0.0.1", "x-real-ip: 127.0.0.1", "forwarded: for=127.0.0.1"],
        "the role": ["x-headgate-role: admin", "x-role: admin", "x-user: the-admin", "x-remote-user: the-admin"],
    }


def test_nobody_gets_in_with_what_is_not_a_token(guarded, operations):
    wrong = []
    for what, lines in forged(guarded.tokens).items():
        for method, path, _ in operations:
            status = raw(guarded, method, path, *lines)
            # What is no HTTP at all is refused before anyone looks for a token.
            if status not in (401, 400, 431) and not (status is None and what in ("too long", "NUL", "NUL within")):
                wrong.append((what, method, path, status))
    assert not wrong, wrong[:20]


def test_most_of_the_corpus_is_well_formed_and_is_refused_as_unauthorized(guarded):
    statuses = {what: raw(guarded, "GET", "/admin/v1/keys", *lines) for what, lines in forged(guarded.tokens).items()}
    others = {what: status for what, status in statuses.items() if status != 401}
    malformed = {"NUL", "NUL within", "bare CR", "folded", "space before the colon", "too long", "very long"}
    assert set(others) <= malformed, others


def test_no_path_header_or_method_leads_around_the_check(guarded, operations):
    token = guarded.tokens["admin"]
    overrides = ["x-http-method-override: GET", "x-method-override: GET", "x-http-method: GET"]
    rewrites = ["x-original-url: /healthz", "x-rewrite-url: /healthz", "x-forwarded-prefix: /healthz", "x-forwarded-host: localhost"]
    around, wrong = [[], overrides, rewrites, ["x-original-url: /admin/v1/keys"]], []
    for method, path, _ in operations:
        rest = path.removeprefix("/admin/v1")
        targets = [
            f"//admin/v1{rest}", f"/admin//v1{rest}", f"/./admin/v1{rest}", f"/admin/v1/.{rest}", f"/admin/v1/../v1{rest}",
            f"/healthz/../admin/v1{rest}", f"/healthz/..%2fadmin/v1{rest}", f"/healthz%2f..%2fadmin/v1{rest}",
            f"/admin%2fv1{rest}", f"/%61dmin/v1{rest}", f"/admin/%761{rest}", f"/ADMIN/V1{rest}", f"/admin/v1{rest}/",
            f"/admin/v1{rest}//", f"/admin/v1;a=b{rest}", f"/admin/v1{rest};a=b", f"/admin/v1{rest}%00", f"/admin/v1{rest}%20",
            f"/admin/v1{rest}.json", f"/admin/v1{rest}?token={token}", f"/admin/v1{rest}?access_token={token}",
            f"/admin/v1{rest}?authorization=Bearer%20{token}", f"/metrics/../admin/v1{rest}", f"/admin/v1\\..\\v1{rest}",
            f"http://127.0.0.1/admin/v1{rest}", f"http://other.example/admin/v1{rest}", f"/admin/v1{rest}?a#{rest}",
        ]
        for target in targets:
            status = raw(guarded, method, target)
            if status not in (401, 404, 400, 405):
                wrong.append((method, target, status))
        for lines in around:
            if (status := raw(guarded, method, path, *lines)) != 401:
                wrong.append((method, path, lines, status))
    assert not wrong, wrong[:20]


def test_other_methods_than_those_of_the_document_do_nothing(guarded, operations):
    known = {(method, path) for method, path, _ in operations}
    bearer = f"authorization: Bearer {guarded.tokens['admin']}"
    before = guarded.admin().get("/export")
    for path in sorted({path for _, path in known}):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"):
            if (method, path) not in known:
                assert raw(guarded, method, path) in (401, 400), (method, path)
                assert raw(guarded, method, path, bearer) in (405, 404, 400), (method, path)
    # A header does not make a read of a write, nor a write of a read.
    assert raw(guarded, "GET", "/admin/v1/keys/org-a-1", bearer, "x-http-method-override: DELETE") == 200
    viewer = f"authorization: Bearer {guarded.tokens['viewer']}"
    assert raw(guarded, "POST", "/admin/v1/keys/org-a-1/disable", viewer, "x-http-method-override: GET") == 403
    assert guarded.admin().get("/export") == before


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_a_role_gets_what_is_its_own_and_nothing_above_it(guarded, operations, role):
    asked, before = Admin(guarded.admin_url, guarded.tokens[role]), guarded.admin().get("/export")
    above = [each for each in operations if ROLES.index(each[2]) > ROLES.index(role)]
    assert len(above) > 20
    for method, path, _ in above:
        for body in (None, {}, {"name": "x"}):
            answered = asked.ask(method, path.removeprefix("/admin/v1"), body)
            assert answered.status == 403, (method, path, answered)
            assert answered.headers["content-type"] == "application/problem+json"
            assert answered.json["type"] == "urn:headgate:problem:forbidden"
        for trick in ("?role=admin", "?dry_run=true", f"?token={guarded.tokens['admin']}"):
            assert asked.ask(method, path.removeprefix("/admin/v1") + trick).status == 403, (method, path, trick)
    for method, path, least in operations:
        if method == "GET" and ROLES.index(least) <= ROLES.index(role) and not path.endswith("/events"):
            assert asked.ask(method, path.removeprefix("/admin/v1")).status in (200, 404), path
    assert guarded.admin().get("/export") == before


def test_refusals_tell_nothing_of_what_exists(guarded):
    nobody = Admin(guarded.admin_url, "hga_nobody")
    answers = {nobody.ask("GET", path).body for path in ("/keys/org-a-1", "/keys/nonesuch", "/nonesuch", "/export")}
    assert len(answers) == 1, answers
    answered = nobody.ask("GET", "/keys")
    assert answered.headers["www-authenticate"] == "Bearer"
    assert "hga_nobody" not in json.dumps(answered.headers) + answered.body.decode()


def test_who_guesses_is_refused_unheard_and_others_are_not_asked_to_wait_for_nothing(operated):
    gateway = operated(failures=3)
    guess, owner = Admin(gateway.admin_url, "guess"), gateway.admin()
    for _ in range(10):
        assert raw(gateway, "GET", "/admin/v1/keys") == 401, "no token is no guess"
    assert owner.ask("GET", "/keys").status == 200
    statuses = [guess.ask("GET", "/keys").status for _ in range(6)]
    assert statuses == [401] * 3 + [429] * 3
    refused = owner.ask("GET", "/keys")
    assert refused.status == 429 and 1 <= int(refused.headers["retry-after"]) <= 60
    # A header does not make another address of it, and traffic has nothing to do with it.
    assert owner.ask("GET", "/keys", x_forwarded_for="10.9.8.7").status == 429
    assert raw(gateway, "GET", "/healthz") == 200


def test_a_token_made_and_deleted_counts_from_the_next_request(guarded):
    owner = guarded.admin()
    token = owner.post("/tokens", {"name": "robot", "role": "viewer"})["token"]
    robot = Admin(guarded.admin_url, token)
    assert robot.ask("GET", "/keys").status == 200 and robot.ask("POST", "/reload").status == 403
    assert owner.patch("/tokens/robot", {"role": "operator"})["role"] == "operator"
    assert robot.ask("POST", "/keys/org-a-1/park", {"seconds": 0.001}).status == 200
    renewed = Admin(guarded.admin_url, owner.post("/tokens/robot/rotate")["token"])
    assert robot.ask("GET", "/keys").status == 401 and renewed.ask("GET", "/keys").status == 200
    owner.delete("/tokens/robot")
    assert renewed.ask("GET", "/keys").status == 401
