"""Where policies are asked: pull, run, copy, verify, fleets; which file holds; what they cost, and what is missing."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from polyarch.errors import IntegrityError, NotFoundError, UsageError
from polyarch.settings import load_settings
from polyarch.verbs.doctor.policy import policy as policy_check
from support import pushing
from support.command import Polyarch
from support.podman_engine import PodmanEngine
from support.signed_images import SignedSite
from support.signed_policies import ACCEPT, REJECT, gpg, only, pulled

Json = dict[str, Any]
pytestmark = pytest.mark.system

# The command


@pytest.fixture
def at_home(site: SignedSite) -> Iterator[Callable[[Json | str], dict[str, str]]]:
    """Writes the policy.json of the site's home folder; the environment in which it holds."""
    path = site.home / ".config" / "containers" / "policy.json"

    def write(document: Json | str) -> dict[str, str]:
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return {"HOME": str(site.home), "POLYARCH_POLICY": "auto"}

    yield write
    path.unlink(missing_ok=True)


def test_a_refused_image_is_code_7_and_has_no_name(
    polyarch: Polyarch, site: SignedSite, at_home: Callable[[Json | str], dict[str, str]]
) -> None:
    env = at_home({"default": [ACCEPT], "transports": {"docker": {site.ref("app"): [gpg(site)]}}})
    refused = polyarch("pull", "--format", "json", "--platform", "amd64", site.ref("app:unsigned"), env=env)
    assert refused.code == 7
    [line] = refused.json_lines
    assert line["error"]["code"] == "integrity"
    assert "refused by the signature policy: a signature is wanted, and there is none" in line["error"]["message"]
    assert f"policy.json says of it: docker: {site.ref('app')}: signedBy" in line["error"]["hint"]
    assert polyarch("image", "ls", "-q", env=env).ok().stdout == ""
    run = polyarch("run", "--rm", "--platform", "amd64", site.ref("app:unsigned"), env=env)
    assert run.code == 125
    assert "refused by the signature policy" in run.stderr
    fleet = polyarch("fleet", "pull", "-i", "local:", "--into", "oci", site.ref("app:unsigned"), env=env)
    assert fleet.code in (7, 10), fleet.stderr
    assert "refused by the signature policy" in fleet.stdout + fleet.stderr
    assert polyarch("image", "ls", "-q", env=env).ok().stdout == ""
    polyarch("pull", "--platform", "amd64", site.ref("app:signed"), env=env).ok()


def test_verify_holds_stored_images_against_the_policy(polyarch: Polyarch, site: SignedSite) -> None:
    refs = [site.ref("app:signed"), site.ref("app:unsigned")]
    env = {"HOME": str(site.home), "POLYARCH_POLICY": "none"}
    polyarch("pull", "--platform", "amd64", *refs, env=env).ok()
    [line] = polyarch("verify", "--format", "json", refs[1], env=env).ok().json_lines
    assert line["policy"] == "all images are accepted: the setting policy is none"
    strict = {**env, "POLYARCH_POLICY": str(only(site, gpg(site)))}
    said = polyarch("verify", *refs, env=strict)
    assert said.code in (7, 10)
    assert f"{refs[0]} linux/amd64: sound" in said.stdout
    assert (
        f"{refs[0]} linux/amd64: policy: {strict['POLYARCH_POLICY']}: docker: {site.address}: signedBy" in said.stdout
    )
    assert f"{refs[1]} linux/amd64: refused by the signature policy: a signature is wanted" in said.stdout
    assert "hint: " in said.stderr
    assert "--repair" not in said.stderr


# Which file


def test_the_users_policy_comes_before_the_systems(site: SignedSite, tmp_path: Path, at_home: Any) -> None:
    at_home({"default": [REJECT]})
    with pytest.raises(IntegrityError, match="rejects all"):
        pulled(site, "auto", tmp_path, "app:signed")
    pulled(site, "none", tmp_path, "app:signed")
    pulled(site, site.policy({"default": [ACCEPT]}), tmp_path, "app:unsigned")


BROKEN = [
    ("{", "signature policy .*policy.json: "),
    ('{"default": [{"type": "signedBy"}]}', "default: requirement 1: 'keyType' is missing"),
    ('{"default": []}', "the list of requirements is empty"),
]


@pytest.mark.parametrize(("text", "said"), BROKEN, ids=["no JSON", "no keyType", "empty"])
def test_a_broken_policy_stops_every_pull(
    text: str, said: str, site: SignedSite, tmp_path: Path, at_home: Callable[[Json | str], dict[str, str]]
) -> None:
    at_home(text)
    with pytest.raises(UsageError, match=said):
        pulled(site, "auto", tmp_path, "app:signed")


def test_a_policy_that_is_not_there_is_told(site: SignedSite, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        pulled(site, tmp_path / "nothing.json", tmp_path, "app:signed")


def test_a_system_policy_that_cannot_be_read_stops_every_pull(
    site: SignedSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policy.json").symlink_to("nowhere")
    monkeypatch.setattr("polyarch_plugins.verifiers.containers_policy.verifier.SYSTEM", tmp_path / "policy.json")
    with pytest.raises(UsageError, match=r"policy\.json: No such file"):
        pulled(site, "auto", tmp_path, "app:signed")


def test_the_setting(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('policy = "/etc/strict.json"\n')
    assert load_settings(tmp_path, None, {"HOME": str(tmp_path)}).policy == "auto"
    assert load_settings(tmp_path, file, {"HOME": str(tmp_path)}).policy == "/etc/strict.json"
    assert load_settings(tmp_path, file, {"HOME": str(tmp_path), "POLYARCH_POLICY": "none"}).policy == "none"


def test_doctor_tells_the_policy(site: SignedSite, tmp_path: Path) -> None:
    with site.session(only(site, gpg(site)), tmp_path) as session:
        check = policy_check(session._verifiers)
        assert check.verdict == "ok"
        assert check.fact.endswith(".json: default: insecureAcceptAnything; 1 with rules of their own")
    with site.session(site.policy({"default": []}), tmp_path) as session:
        assert policy_check(session._verifiers).verdict == "failed"


# What it costs


def test_a_policy_that_accepts_costs_no_request_and_no_module(
    site: SignedSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def requests(policy: Path | str, root: str) -> list[str]:
        before = len(site.registry.access_log())
        pulled(site, policy, tmp_path / root, "app:unsigned")
        return sorted(f"{each.method} {each.path}" for each in site.registry.access_log()[before:])

    def ours() -> set[str]:
        return {name for name in sys.modules if name.startswith("polyarch_plugins.verifiers.") or name == "yaml"}

    own = "polyarch_plugins.verifiers.containers_policy"
    for name in ours():
        monkeypatch.delitem(sys.modules, name)
    assert requests(site.policy({"default": [ACCEPT]}), "a") == requests("none", "b")
    light = {"polyarch_plugins.verifiers", own, *(f"{own}.{part}" for part in ("plugin", "verifier", "strict"))}
    assert ours() <= light
    elsewhere = site.policy({"default": [ACCEPT], "transports": {"docker": {"example.com": [gpg(site)]}}})
    assert requests(elsewhere, "c") == requests("none", "d")
    assert ours() <= {*light, f"{own}.policy", f"{own}.scopes"}


def test_signatures_that_nobody_asks_for_are_not_read(site: SignedSite, tmp_path: Path) -> None:
    before = len(site.registry.access_log())
    pulled(site, only(site, gpg(site)), tmp_path, "app:signed")
    assert not [each for each in site.registry.access_log()[before:] if ".sig" in each.path]


def test_nothing_of_gpg_is_left(site: SignedSite, tmp_path: Path) -> None:
    with site.session(only(site, gpg(site)), tmp_path) as session:
        session.pull(site.ref("app:signed"), platform="linux/amd64")
        with pytest.raises(IntegrityError):
            session.pull(site.ref("app:other"), platform="linux/amd64")
        assert not list(tmp_path.rglob("gpg-*"))


REASONS = [
    ("app:unsigned", "good", "a signature is wanted, and there is none"),
    ("app:other", "good", "it is not by one of the keys that the policy names"),
    ("app:expired", "expired", "the key has expired"),
    ("app:outdated", "old", "the signature has expired"),
    ("app:revoked", "revoked", "the key was revoked"),
    ("app:replayed", "good", "the signature is of another image (sha256:"),
    ("app:retagged", "good", "the signature is for another name ("),
    ("app:clear", "good", "is no signature"),
    ("app:no-json", "good", "what was signed is no signature of an image"),
]


@pytest.mark.parametrize(("name", "key", "why"), REASONS, ids=[row[0] for row in REASONS])
def test_the_reason_is_told(name: str, key: str, why: str, site: SignedSite) -> None:
    asks = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(site.gpg_keys[key].public)}
    accepted, told = site.verifier_accepts(name, only(site, asks))
    assert not accepted
    assert why in told


# Names, sources and verbs


def test_a_tag_and_a_digest_pin_the_digest(site: SignedSite, tmp_path: Path) -> None:
    other = site.image("source:1")
    with site.session(only(site, gpg(site)), tmp_path) as session:
        [result] = session.pull(site.ref(f"app:unsigned@{other}"), platform="linux/amd64")
        assert result.candidate.manifest.digest == other  # of the tag nothing is asked, as with docker and podman
        with pytest.raises(NotFoundError):
            session.pull(site.ref(f"app:signed@sha256:{'0' * 64}"), platform="linux/amd64")


def test_a_variant_by_a_convention_keeps_the_rules_of_both_names(site: SignedSite, tmp_path: Path) -> None:
    digest = site.image("team/app:7.0-amd64")
    site.keep("team/app:7.0-amd64", digest, site.sign("team/app:7.0-amd64", digest))

    def pull(root: str, scopes: Json) -> None:
        policy = site.policy({"default": [ACCEPT], "transports": {"docker": scopes}})
        pulled(site, policy, tmp_path / root, "team/app:7.0")

    pull("a", {site.ref("team/app"): [gpg(site)]})
    for refusing in ("team/app:7.0", "team/app:7.0-amd64"):
        with pytest.raises(IntegrityError, match="rejects"):
            pull("b", {site.ref(refusing): [REJECT]})
    site.image("team/app:8.0-amd64")
    policy = site.policy({"default": [ACCEPT], "transports": {"docker": {site.ref("team/app:8.0"): [gpg(site)]}}})
    with pytest.raises(IntegrityError, match="is wanted"):
        pulled(site, policy, tmp_path / "c", "team/app:8.0")


def test_other_sources_have_no_signatures(site: SignedSite, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    copied = site.skopeo(
        "--insecure-policy", "copy", "--src-tls-verify=false", f"docker://{site.ref('app:unsigned')}", f"oci:{layout}:1"
    )
    assert copied.returncode == 0, copied.stderr

    def pull(asks: Json) -> None:
        policy = site.policy({"default": [REJECT], "transports": {"oci": {str(tmp_path): [asks]}}})
        with site.session(policy, tmp_path / "root") as session:
            session.pull(f"oci:{layout}:1", platform="linux/amd64")

    pull(ACCEPT)
    with pytest.raises(IntegrityError, match="is wanted, and there is none"):
        pull(gpg(site))


def test_copy_keeps_the_policy_of_the_source(site: SignedSite, tmp_path: Path) -> None:
    with site.session(only(site, gpg(site)), tmp_path) as session:
        session.moving.copy(site.ref("app:signed"), site.ref("copied:signed"))
        with pytest.raises(IntegrityError, match="refused by the signature policy"):
            session.moving.copy(site.ref("app:unsigned"), site.ref("copied:unsigned"))
    assert pushing.raw(site.address, "copied", "signed") is not None
    assert pushing.raw(site.address, "copied", "unsigned") is None


def test_every_platform_needs_its_signature(site: SignedSite, tmp_path: Path) -> None:
    with site.session(only(site, gpg(site)), tmp_path) as session:
        with pytest.raises(IntegrityError):
            session.pull(site.ref("app:index-by-instance"), all_platforms=True)
        [image] = session.storage().find(session.reference(site.ref("app:index-by-instance")))
        assert str(image.platform) == "linux/amd64"  # the one that is signed


# podman itself


@pytest.mark.costly
@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("app:signed", True),
        ("app:unsigned", False),
        ("app:other", False),
        ("app:replayed", False),
        ("app:retagged", False),
        ("elsewhere:signed", False),
        ("app:expired", False),
        ("app:revoked", False),
        ("app:one-good", True),
        ("app:index-by-instance", True),
        ("app:index-by-index", False),
        ("app:signed@DIGEST", True),
        ("app:unsigned@DIGEST", True),
        ("elsewhere:signed@DIGEST", False),
    ],
)
def test_the_answer_is_that_of_podman(
    name: str, accepted: bool, site: SignedSite, tmp_path: Path, podman: PodmanEngine
) -> None:
    home = podman.folder / "home" / ".config" / "containers"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(site.places, home / "registries.d")
    policy = only(site, gpg(site))
    shutil.copy(policy, home / "policy.json")
    image = name.replace("DIGEST", site.image("source:1"))
    theirs = podman.try_podman("pull", "--tls-verify=false", "--arch", "amd64", site.ref(image))
    ours, why = site.polyarch_accepts(image, policy)
    assert (ours, theirs.returncode == 0) == (accepted, accepted), f"polyarch: {why}\npodman: {theirs.stderr}"


# Fleets whose devices pull themselves


@pytest.mark.costly
def test_what_devices_pull_themselves_is_held_against_the_policy_here(polyarch: Polyarch, site: SignedSite) -> None:
    env = {"HOME": str(site.home), "POLYARCH_POLICY": str(only(site, gpg(site)))}
    words = ("-i", "local:", "--into", "podman", "--transport", "direct", "--format", "json")
    refused = polyarch("fleet", "pull", *words, site.ref("app:index-by-index"), env=env)
    assert refused.code in (7, 10), refused.stdout
    assert "refused by the signature policy" in refused.stdout
