"""The file of a login: read and checked before the dashboard starts; each mistake is one line that names the field."""

from __future__ import annotations

import re

import oidc
import pytest
from ports import free_port

from qkstore.__main__ import main
from qkstore.cli.login import Login
from qkstore.errors import QKStoreError

AT, PROVIDER = "https://qk.example.org", "https://login.example.org"


def test_what_the_file_says(tmp_path):
    login = Login.read(oidc.login_file(tmp_path, AT, PROVIDER))
    assert (login.host, login.origin) == ("qk.example.org", AT)
    assert login.file == tmp_path.resolve() / "login.toml"
    assert (
        Login.read(oidc.login_file(tmp_path, "http://[::1]:8501", "http://127.0.0.1:9")).origin == "http://[::1]:8501"
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"client_id": ""}, r"\[auth\] has no client_id: write client_id = "),
        ({"redirect_uri": ""}, "has no redirect_uri"),
        ({"cookie_secret": ""}, "has no cookie_secret"),
        ({"client_secret": "  "}, "has no client_secret"),
        ({"server_metadata_url": ""}, "has no server_metadata_url"),
        ({"cookie_secret": "x" * 31}, "cookie_secret has less than 32 characters; make one: python -c"),
        ({"redirect_uri": "https://qk.example.org/"}, "is not the server's address with /oauth2callback"),
        ({"redirect_uri": "https://qk.example.org/oauth2callback?a=b"}, "is not the server's address"),
        ({"redirect_uri": "http://qk.example.org/oauth2callback"}, "no address with https://, nor one of this machine"),
        ({"redirect_uri": "https://a@qk.example.org/oauth2callback"}, "no address with https://"),
        ({"redirect_uri": "https://qk.example.org:{port}/oauth2callback"}, "no address with https://"),
        (
            {"server_metadata_url": "http://login.example.org/x"},
            "server_metadata_url 'http://login.example.org/x' is no",
        ),
        ({"server_metadata_url": "login.example.org"}, "server_metadata_url 'login.example.org' is no"),
        ({"client_ids": "a"}, "field 'client_ids'; in .auth., did you mean 'client_id'"),
        ({"expose_tokens": "id"}, "field 'expose_tokens'"),
    ],
)
def test_a_field_that_is_wrong_is_named(tmp_path, fields, says):
    file = oidc.login_file(tmp_path, AT, PROVIDER, **fields)
    with pytest.raises(QKStoreError, match=says) as error:
        Login.read(file)
    assert len(str(error.value).splitlines()) == 1
    assert str(tmp_path) not in str(error.value)
    assert not re.search(r"of-the-tests|[\w-]{40}", str(error.value)), "no secret is told"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"there is no \[auth\]; its fields are redirect_uri, cookie_secret"),
        ("auth = 1", r"there is no \[auth\]"),
        ("[auth", "it is not TOML"),
        ("[auth]\nclient_id = 1", "has no redirect_uri"),
        ("PGPASSWORD = 'x'\n[auth]", "field 'PGPASSWORD'"),
        ("[auth.google]\nclient_id = 'x'", "field 'google'"),
        ("\xff", "is not text in UTF-8"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path, text, says):
    file = tmp_path / "login.toml"
    file.write_bytes(text.encode("latin-1"))
    file.chmod(0o600)
    with pytest.raises(QKStoreError, match=says):
        Login.read(file)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o602])
def test_a_file_that_others_may_read_is_refused(tmp_path, mode):
    file = oidc.login_file(tmp_path, AT, PROVIDER)
    file.chmod(mode)
    with pytest.raises(QKStoreError, match="others than its owner may read it: chmod 600 login.toml"):
        Login.read(file)
    file.chmod(0o400)
    assert Login.read(file)


def test_serve_does_not_start_with_a_file_that_is_not_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("qkstore.cli.programs.become", lambda *_, **__: pytest.fail("it was started"))
    (tmp_path / "store" / "runs").mkdir(parents=True)
    command = ["serve", "--store", str(tmp_path / "store"), "--login", str(tmp_path / "none.toml")]
    assert main(command) == 2
    assert capsys.readouterr().err == "qkstore: login file none.toml: it cannot be read: No such file or directory\n"


def test_serve_hands_the_file_and_its_host_on(tmp_path, monkeypatch, capsys):
    given = {}
    monkeypatch.setattr("qkstore.cli.programs.become", lambda *words, **names: given.update(names, words=words))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QKSTORE_LOGIN", raising=False)
    (tmp_path / "store" / "runs").mkdir(parents=True)
    oidc.login_file(tmp_path, AT, PROVIDER)
    command = ["serve", "--store", "store", "--port", str(free_port())]
    main([*command, "--login", "login.toml"])
    assert given["QKSTORE_LOGIN"] == str(tmp_path.resolve() / "login.toml")
    assert given["words"][1][1:] == ["qk.example.org"]
    assert f"qkstore is at {AT}" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    main(command)
    assert given["QKSTORE_LOGIN"] == ""
    assert given["words"][1][1:] == []


def test_the_login_needs_authlib(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "authlib" else name)
    (tmp_path / "store" / "runs").mkdir(parents=True)
    file = oidc.login_file(tmp_path, AT, PROVIDER)
    assert main(["serve", "--store", str(tmp_path / "store"), "--login", str(file)]) == 2
    assert capsys.readouterr().err == "qkstore: authlib is not installed: pip install 'qkstore[team]'\n"
