"""Connections and destinations, read from a YAML file that `config.schema.json` checks. docs/bridge.md

An invariant to keep: what a file says and this program does not know is refused, with its place.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import jsonschema
import yaml

from hl7_bridge.delivery import Resource
from hl7_bridge.mapping.draft import Held, Problem
from hl7_bridge.message import Message

GENERIC = "generic"


class BadConfig(ValueError):
    """The file cannot be used; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM form. `authority`: who must have signed the other side's certificate; as a server '' asks for none."""

    certificate: str = ""
    key: str = ""
    authority: str = ""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who may send by a connection: patterns that MSH-3 and MSH-4 match as a whole, and networks; '' and () are anybody."""

    application: str = ""
    facility: str = ""
    addresses: tuple[str, ...] = ()

    def fits_address(self, address: str) -> bool:
        """Whether the other side's address is one of these networks; one that is not known fits."""
        if not self.addresses or not address:
            return True
        try:
            known = ipaddress.ip_address(address.split("%")[0])
        except ValueError:
            return False
        return any(known in ipaddress.ip_network(network, strict=False) for network in self.addresses)

    def fits(self, application: str, facility: str) -> bool:
        return _fits(self.application, application) and _fits(self.facility, facility)


def _fits(pattern: str, text: str) -> bool:
    return not pattern or re.fullmatch(pattern, text) is not None


ANYBODY = Sender()


@dataclass(frozen=True, slots=True)
class Connection:
    """A sender, as it is registered. Several may share an address to listen on when their senders can be told apart.

    `role`: whether we `listen` at `address`, or `connect` to it.
    """

    name: str
    address: Address
    role: Literal["listen", "connect"] = "listen"
    profile: str = GENERIC
    sender: Sender = ANYBODY
    tls: Tls | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """Where messages are sent to. `messages` are types such as ADT^A01, none: all that are built; `options` is the rest."""

    name: str
    address: Address
    messages: tuple[str, ...] = ()
    tls: Tls | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """`profiles` is a folder with device profiles besides those that come along, '' for none.

    Bytes that come again within `resend_days` are a resend; the bytes of what is done are kept for `keep_days`, 0: for ever.
    """

    connections: tuple[Connection, ...] = ()
    destinations: tuple[Destination, ...] = ()
    profiles: str = ""
    zone: str = ""
    resend_days: int = 30
    keep_days: int = 0

    def connection(self, name: str) -> Connection | None:
        return next((one for one in self.connections if one.name == name), None)

    def listened(self) -> Mapping[Address, tuple[Connection, ...]]:
        """The connections by the address that is listened on."""
        found: dict[Address, tuple[Connection, ...]] = {}
        for one in self.connections:
            if one.role == "listen":
                found[one.address] = (*found.get(one.address, ()), one)
        return found


def unregistered(address: Address) -> str:
    """The name under which messages are kept that come to an address from nobody, or several, that is registered."""
    return f"unregistered-{address.port}"


def resolve(
    connections: Sequence[Connection], application: str, facility: str, address: str = ""
) -> Connection:
    """The one connection that a message came by. Raises Held when there is none, or several."""
    found = [
        c for c in connections if c.sender.fits_address(address) and c.sender.fits(application, facility)
    ]
    who = f"{application}|{facility}"
    if not found:
        raise Held(Problem("unregistered-source", f"No connection is for {who!r}.", "MSH-3", who, True))
    if len(found) > 1:
        names = ", ".join(c.name for c in found)
        raise Held(Problem("ambiguous-source", f"{who!r} could be any of {names}.", "MSH-3", who, True))
    return found[0]


def sender_of(message: Message) -> tuple[str, str]:
    """MSH-3.1 and MSH-4.1."""
    return message.header.text(3), message.header.text(4)


def load_config(path: Path) -> Config:
    """The configuration in a YAML file. Raises BadConfig."""
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadConfig(f"{path}: {error}") from error
    return config_of({} if read is None else read, str(path))


def schema() -> Resource:
    """The JSON schema of the file."""
    found: Resource = json.loads((files("hl7_bridge") / "config.schema.json").read_text(encoding="utf-8"))
    return found


def config_of(read: Any, source: str = "configuration") -> Config:
    """The configuration that a file says. Raises BadConfig."""
    errors = sorted(
        jsonschema.Draft202012Validator(schema()).iter_errors(read),
        key=lambda e: [*map(str, e.absolute_path)],
    )
    if errors:
        told = "; ".join(f"{'/'.join(map(str, e.absolute_path)) or 'file'}: {_said(e)}" for e in errors[:5])
        raise BadConfig(f"{source}: {told}")
    config = Config(
        tuple(_connection(one) for one in read.get("connections", ())),
        tuple(_destination(one) for one in read.get("destinations", ())),
        read.get("profiles", ""),
        read.get("zone", ""),
        read.get("resend_days", 30),
        read.get("keep_days", 0),
    )
    _check(config, source)
    return config


def _said(error: jsonschema.ValidationError) -> str:
    return "listen or connect is needed, and not both" if error.validator == "oneOf" else error.message


def _check(config: Config, source: str) -> None:
    for several in (config.connections, config.destinations):
        names = [one.name for one in several]
        for name in names:
            if names.count(name) > 1:
                raise BadConfig(f"{source}: the name {name!r} stands more than once.")
    for address, sharing in config.listened().items():
        if len({one.tls for one in sharing}) > 1:
            raise BadConfig(f"{source}: connections at {address} differ in TLS.")
        if len(sharing) > 1 and len({one.sender for one in sharing}) < len(sharing):
            raise BadConfig(f"{source}: connections at {address} cannot be told apart by their senders.")
    for one in config.connections:
        for pattern in (one.sender.application, one.sender.facility):
            try:
                re.compile(pattern)
            except re.error as error:
                raise BadConfig(f"{source}: {one.name}: {pattern!r} is no pattern: {error}") from error
        for network in one.sender.addresses:
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError as error:
                raise BadConfig(f"{source}: {one.name}: {error}") from error


def _connection(read: Mapping[str, Any]) -> Connection:
    role: Literal["listen", "connect"] = "listen" if "listen" in read else "connect"
    sender = read.get("sender", {})
    return Connection(
        read["name"],
        _address(read[role]),
        role,
        read.get("profile", GENERIC),
        Sender(sender.get("application", ""), sender.get("facility", ""), tuple(sender.get("addresses", ()))),
        _tls(read),
    )


def _destination(read: Mapping[str, Any]) -> Destination:
    known = ("name", "connect", "messages", "tls")
    return Destination(
        read["name"],
        _address(read["connect"]),
        tuple(read.get("messages", ())),
        _tls(read),
        {k: v for k, v in read.items() if k not in known},
    )


def _address(read: Mapping[str, Any]) -> Address:
    return Address(read.get("host", "127.0.0.1"), read["port"])


def _tls(read: Mapping[str, Any]) -> Tls | None:
    tls = read.get("tls")
    if tls is None:
        return None
    return Tls(tls.get("certificate", ""), tls.get("key", ""), tls.get("authority", ""))
