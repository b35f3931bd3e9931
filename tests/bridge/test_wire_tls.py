"""TLS and mutual TLS, with certificates that were made for these tests alone."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from hl7_bridge.listener import Listener, Unsafe, Wire
from hl7_bridge.tls import client_tls, is_mutual, server_tls
from tests.bridge.wire import Kept, device, listening, oru


class Papers:
    """Certificates, made for one run: an authority, a server and a device that it vouches for, and a stranger."""

    def __init__(self, folder: Path) -> None:
        authority, other = trustme.CA(), trustme.CA()
        self.authority = str(folder / "authority.pem")
        authority.cert_pem.write_to_path(self.authority)
        self.server = self._written(folder / "server.pem", authority.issue_cert("127.0.0.1", "localhost"))
        analyser = authority.issue_cert("analyser.test", common_name="analyser-1")
        self.analyser = self._written(folder / "analyser.pem", analyser)
        self.stranger = self._written(folder / "stranger.pem", other.issue_cert("127.0.0.1", "localhost"))

    @staticmethod
    def _written(path: Path, certificate: trustme.LeafCert) -> str:
        certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
        return str(path)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("certificates"))


async def test_a_message_travels_under_tls(papers):
    kept = Kept()
    async with (
        listening(kept, tls=server_tls(papers.server)) as listener,
        device(listener, tls=client_tls(authority=papers.authority)) as analyser,
    ):
        await analyser.send(oru())
        await analyser.answer()
    assert kept.messages == [oru()]


async def test_with_an_authority_the_sender_shows_who_it_is(papers):
    kept = Kept()
    async with (
        listening(kept, tls=server_tls(papers.server, authority=papers.authority)) as listener,
        device(listener, tls=client_tls(papers.analyser, authority=papers.authority)) as analyser,
    ):
        await analyser.send(oru())
        await analyser.answer()
    assert kept.links[0].subject == "analyser-1"


@pytest.mark.parametrize("shows", [False, True])
async def test_who_shows_no_certificate_of_the_authority_is_refused(papers, shows):
    kept = Kept()
    certificate = papers.stranger if shows else ""

    async def try_it(listener: Listener) -> None:
        async with device(listener, tls=client_tls(certificate, authority=papers.authority)) as stranger:
            await stranger.send(oru())
            await stranger.answer()

    async with listening(kept, tls=server_tls(papers.server, authority=papers.authority)) as listener:
        with pytest.raises((OSError, EOFError)):
            await try_it(listener)
    assert kept.messages == []


async def test_a_server_that_nobody_has_vouched_for_is_not_connected_to(papers):
    async with listening(Kept(), tls=server_tls(papers.stranger)) as listener:
        with pytest.raises(ssl.SSLCertVerificationError):
            async with device(listener, tls=client_tls(authority=papers.authority)):
                pass


async def test_plain_text_at_a_listener_with_tls_is_refused(papers):
    kept = Kept()
    async with listening(kept, tls=server_tls(papers.server)) as listener, device(listener) as analyser:
        await analyser.send(oru())
        assert await analyser.closed() or kept.messages == []
    assert kept.messages == []


def test_beyond_this_machine_only_mutual_tls_makes_senders_known(papers):
    one_sided, mutual = server_tls(papers.server), server_tls(papers.server, authority=papers.authority)
    assert is_mutual(mutual)
    with pytest.raises(Unsafe):
        Listener(Wire("lab", "0.0.0.0", 2575, tls=one_sided), Kept())
    Listener(Wire("lab", "0.0.0.0", 2575, tls=mutual), Kept())


@pytest.mark.parametrize("make", [server_tls, client_tls])
def test_a_file_that_cannot_be_used_is_named(tmp_path, make):
    (tmp_path / "text.pem").write_text("no certificate")
    for name, why in (("missing.pem", "No such file"), ("text.pem", "not the PEM file")):
        with pytest.raises(OSError, match=f"{name}: {why}"):
            make(str(tmp_path / name))
    with pytest.raises(OSError, match=r"missing\.pem: No such file"):
        client_tls("", "", str(tmp_path / "missing.pem"))
