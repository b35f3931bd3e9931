"""Devices as they behave on the wire, for trying out a bridge: how long they wait, what they do then, what they send that is odd.

The behaviours are those that manuals and captures of such devices tell of; messages and values are made up. Time runs `scale`
times as long as the device's own (0.01: a wait of 10 s lasts 0.1 s).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count as counted
from itertools import islice

from hl7_bridge.astm.frames import E1381
from hl7_bridge.framing import Frame, Reply, framing, wrap
from hl7_bridge.message import Message, NotHl7, parse


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One kind of device.

    `make` gives the n-th message. `answer_seconds`: how long an answer is waited for, 0: not at all; then the message is sent
    again until there were `attempts`, and given up. `codes` are those of MSA-1 that
    satisfy it. `heartbeat` is sent every `heartbeat_seconds`; `pieces`: a message comes in so many; `together`: so many
    messages in one piece; `hangs_up`: a connection for each message.
    """

    make: Callable[[int], bytes]
    says: str
    framing: str = "mllp"
    answer_seconds: float = 10.0
    attempts: int = 1
    codes: tuple[str, ...] = ("AA", "CA")
    heartbeat: bytes = b""
    heartbeat_seconds: float = 3.0
    pieces: int = 1
    together: int = 1
    hangs_up: bool = False


@dataclass(slots=True)
class Report:
    """What happened, by the number of the message: answered, answered with an error, given up; how often one was sent again.

    `strays` are answers to nothing that was sent, `orders` those that the device was sent.
    """

    answered: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    sent_again: int = 0
    strays: int = 0
    orders: int = 0


def _message(number: int, header: str, *segments: str, ending: str = "\r") -> bytes:
    return "".join(one.format(n=number) + ending for one in (header, *segments)).encode()


def _mindray_bc(number: int) -> bytes:
    return _message(
        number,
        "MSH|^~\\&|BC-5300|Mindray|||20260105080000||ORU^R01|{n}|P|2.3.1||||||UNICODE",
        "PID|1||{n:06}^^^^MR||^Muster||19700101000000|Male",
        "OBR|1||S{n:06}|00001^Automated Count^99MRC||20260105075900|20260105075930|||||||||||||||||HM||||||||admin",
        "OBX|1|IS|08001^Take Mode^99MRC||O||||||F",
        "OBX|2|NM|6690-2^WBC^LN||6.{n}|10*9/L|4.00-10.00|N|||F",
        "OBX|3|NM|718-7^HGB^LN||14{n}|g/L|110-160|N|||F",
    )


def _mindray_bs(number: int) -> bytes:
    return _message(
        (number - 1) % 9 + 1,
        "MSH|^~\\&|||||20260105080000||ORU^R01|{n}|P|2.3.1||||0||ASCII|||",
        "PID|{n}||||Muster||19700101000000|F",
        f"OBR|1|B{number:06}|7|Mindray^BS-480|N|20260105080000||||||||serum",
        f"OBX|1|NM|2|ALT|{20 + number}.5|U/L|0-40|N|||F||{20 + number}.5|20260105080000||admin",
    )


def _genexpert(number: int) -> bytes:
    return _message(
        number,
        "MSH|^~\\&|LAB^GeneXpert|||LIS|20260105080000||ORU^R32^ORU_R30|GX-{n}|P|2.5|||AL|NE||8859/1",
        "PID|1||P{n}",
        "ORC|1|S{n}",
        "OBR|1||F{n}|FLU^Xpress^99CEP|||20260105074500",
        "OBX|1|ST|FLU^Flu A^99CEP||NOT DETECTED||||||F",
    )


def _cobas(number: int) -> bytes:
    return _message(
        number,
        "MSH|^~\\&|cobas pro||LIS||20260105080000+0000||OUL^R22^OUL_R22|{n}|P|2.5.1|||NE|AL||UNICODE UTF-8|||LAB-29^IHE",
        "PID|1||P{n}",
        "SPM|1|{n}&BARCODE||SERPLAS^^99ROC",
        'OBR|1|""||20990^GLUC3^99ROC',
        "ORC|OK||||CM",
        "OBX|1|NM|20990^GLUC3^99ROC|1|5.{n}|mmol/L^^99ROC||N^^HL70078|||F|||||operator||cobas^Roche|20260105080000",
        "OBX|2|CE|20990^GLUC3^99ROC|1|||||||F",
    )


def _maglumi(number: int) -> bytes:
    return _message(
        number,
        "MSH|^~\\&|Maglumi|Snibe|LIS||20150101000000||ORU^R01|{n}|P|2.5||||NE|NE",
        "SPM|1|S{n}",
        "OBR|1|S{n}||TSH II",
        "OBX|1||TSH II||2.{n}^|uIU/mL|0.3-4.5|N|||F",
    )


def _autobio(number: int) -> bytes:
    return _message(
        number,
        "MSH|^~\\&|||||2026/01/05 12:00:00||ORU^R01|5|P|2.3.1",
        "OBR|1||S{n}",
        "NTE|1||N",
        "OBX|{n}|CE|FT3||12345^3,{n}~|pmol/L|||||F",
    )


def _alinity(number: int) -> bytes:
    return _message(
        number,
        "MSH|^~\\&|||||20260105080000||OUL^R22^OUL_R22|{n}|P|2.5.1|||NE|AL",
        "SPM|1|||PLAS",
        "SAC|||S{n}",
        "OBR|1||F{n}|HIV1^HIV-1",
        "OBX|1|ST|HIV1^HIV-1||< 20|^copies/mL|||||F",
    )


def _atellica(number: int) -> bytes:
    return _message(
        number,
        "MSH|^~\\&|ATE|AA|LIS|BB|20260105080000+0100||OUL^R22^OUL_R22|036314492b44{n:04x}|P|2.5.1|||NE|AL||UNICODE UTF-8|||LAB-29^IHE",
        'SPM|1|AT-{n}^""|""^""|SER^Serum^HL70487|||||||P^Patient specimen^HL70369',
        "SAC|||AT-{n}",
        'OBR|1|""||FT3^FT3^99SiemensHDXTestCode',
        "ORC|OK||||CM",
        'OBX|1|NM|FT3.COFF^FT3^99SiemensHDXTestCode|1^1|1.00|pg/mL^pg/mL^UCUM||""^""^HL70078|||F',
        'OBX|2|NM|FT3.RLU^FT3^99SiemensHDXTestCode|1^1|149870|pg/mL^pg/mL^UCUM||""^""^HL70078|||F',
        'OBX|3|NM|FT3.DOSE^FT3^99SiemensHDXTestCode|1^1|3.{n}|pg/mL^pg/mL^UCUM|([ Normal : 1.5 - 4.2 ] )|""^""^HL70078|||F',
    )


def _law(number: int) -> bytes:
    """A query for the orders of a specimen, then its result."""
    head = "MSH|^~\\&|AN|LAB|LIS|LAB|20260105080000+0000||{type}|L{n}|P|2.5.1|||NE|AL||UNICODE UTF-8|||{profile}^IHE"
    if number % 2:
        return _message(
            number,
            head.format(type="QBP^Q11^QBP_Q11", n="{n}", profile="LAB-27"),
            f"QPD|WOS^Work Order Step^IHE_LABTF|T{number}|TUBE-{(number + 1) // 2}",
            "RCP|I||R",
        )
    return _message(
        number,
        head.format(type="OUL^R22^OUL_R22", n="{n}", profile="LAB-29"),
        f"SPM|1|TUBE-{number // 2}||SER",
        f"SAC|||TUBE-{number // 2}",
        "OBR|1|||2345-7^Glucose^LN",
        "ORC|OK||||CM",
        "OBX|1|NM|2345-7^Glucose^LN|1|5.{n}|mmol/L^mmol/L^UCUM||N|||F|||||||20260105080000",
    )


def _taken(order: Message) -> bytes:
    """The answer of an analyser to orders that were sent to it (LAB-28): it takes them, or has heard that there are none."""
    response = "".join(
        f"ORC|{'CR' if one.text(1) == 'DC' else 'OK'}|{one.text(2)}\r" for one in order.all("ORC")
    )
    return (
        f"MSH|^~\\&|AN|LAB|LIS|LAB|20260105080000+0000||ORL^O34^ORL_O42|R{order.control_id}|P|2.5.1|||NE|NE||UNICODE UTF-8|||LAB-28^IHE\r"
        f"MSA|AA|{order.control_id}\rSPM|1|{order.get('SPM-2')}||SER\rSAC|||{order.get('SAC-3')}\r{response}"
    ).encode()


def _astm(number: int) -> bytes:
    return _message(
        number,
        "H|\\^&|||XN-1000^00-01^12345||||||||LIS2-A2|20260105080000",
        "P|1||P{n}||Muster^Max||19700101|M",
        "O|1|S{n}^^1||^^^WBC\\^^^HGB|R|20260105075500|||||N||||BLOOD",
        "R|1|^^^WBC|6.{n}|10*3/uL|4.0 to 10.0|N||F||||20260105080000",
        "R|2|^^^HGB|14{n}|g/L||H||F||||20260105080000",
        "C|1|I|A comment that is long enough for its record to be cut into two frames by a device that keeps to the "
        "standard and puts no more than two hundred and forty bytes into a frame, wherever that is in the text; the rest "
        "of the {n}th comment follows|G",
        "L|1|N",
    )


BEHAVIOURS: dict[str, Behaviour] = {
    "mindray-bc": Behaviour(_mindray_bc, "waits 10 s, then goes on; the result is lost"),
    "mindray-bc-3600": Behaviour(_mindray_bc, "as mindray-bc; a byte 02 every 3 s", heartbeat=b"\x02"),
    "mindray-bs": Behaviour(_mindray_bs, "one test in a message; MSH-10 begins again at 1", attempts=3),
    "genexpert": Behaviour(
        _genexpert, "wants CA; sends three times, 60 s apart", answer_seconds=60, attempts=3, codes=("CA",)
    ),
    "cobas": Behaviour(
        _cobas, "wants AA within 25 s; sends three times", answer_seconds=25, attempts=3, codes=("AA",)
    ),
    "maglumi": Behaviour(
        _maglumi, "no marks around messages; wants no answer", framing="none", answer_seconds=0, pieces=3
    ),
    "maglumi-length": Behaviour(
        _maglumi, "four bytes of length; wants no answer", framing="length", answer_seconds=0
    ),
    "autobio": Behaviour(_autobio, "MSH-10 is always 5", attempts=3),
    "siemens-atellica": Behaviour(
        _atellica, 'three OBX of which one counts, "" where nothing is known; sends three times', attempts=3
    ),
    "law-analyser": Behaviour(
        _law, "asks for the orders of a specimen, takes them, then sends its result", attempts=3
    ),
    "alinity-m": Behaviour(_alinity, "several messages in one piece", together=4, attempts=3),
    "byte-by-byte": Behaviour(_mindray_bc, "each byte comes on its own", pieces=10_000),
    "astm": Behaviour(
        _astm, "ASTM E1381 and E1394; cuts fields into frames of 240 bytes", framing="astm", answer_seconds=15
    ),
    "hangs-up": Behaviour(_mindray_bc, "a connection for each message", hangs_up=True, attempts=3),
}


class Simulator:
    """A device that sends messages to an address."""

    def __init__(self, behaviour: Behaviour, host: str, port: int, scale: float = 1.0) -> None:
        self.behaviour = behaviour
        self.report = Report()
        self._address = (host, port)
        self._scale = scale
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._framing = framing(behaviour.framing)
        self._answers: list[bytes] = []

    async def run(self, count: int, cut_after: int = 0) -> Report:
        """Send that many messages; with `cut_after` the last one breaks off after so many bytes. Raises OSError when nobody is there."""
        behaviour, numbers = self.behaviour, counted(1)
        await self._connected()
        beating = asyncio.create_task(self._beat()) if behaviour.heartbeat else None
        try:
            while batch := list(islice(numbers, min(behaviour.together, count))):
                count -= len(batch)
                await self._deliver(batch)
                if behaviour.hangs_up:
                    await self._hang_up()
            if cut_after:
                started = b"\x05\x02" if behaviour.framing == "astm" else b""
                await self._write(
                    (started + wrap(behaviour.framing, behaviour.make(next(numbers))))[:cut_after]
                )
        finally:
            if beating is not None:
                beating.cancel()
            await self._hang_up()
        return self.report

    async def _deliver(self, numbers: list[int]) -> None:
        """Send messages until they are answered or given up."""
        if isinstance(self._framing, E1381):
            await self._converse(self._framing, numbers)
            return
        behaviour, report = self.behaviour, self.report
        waiting = {number: behaviour.make(number) for number in numbers}
        for attempt in range(behaviour.attempts):
            report.sent_again += len(waiting) if attempt else 0
            try:
                await self._write(b"".join(wrap(behaviour.framing, raw) for raw in waiting.values()))
                if not behaviour.answer_seconds:
                    return
                async with asyncio.timeout(behaviour.answer_seconds * self._scale):
                    for number, raw in list(waiting.items()):
                        (report.answered if await self._satisfied(raw) else report.refused).append(number)
                        del waiting[number]
            except (TimeoutError, EOFError, ConnectionError):
                await self._hang_up()
            if not waiting:
                return
        report.dropped += waiting

    async def _converse(self, dialogue: E1381, numbers: list[int]) -> None:
        """Send messages of ASTM; a message is answered when its last frame was acknowledged."""
        reader, writer = await self._connected()
        for number in numbers:
            refused = len(dialogue.refused)
            events = dialogue.say(self.behaviour.make(number))
            try:
                async with asyncio.timeout(self.behaviour.answer_seconds * self._scale):
                    while True:
                        writer.write(b"".join(event.data for event in events if isinstance(event, Reply)))
                        if not dialogue.saying:
                            break
                        events = dialogue.feed(await reader.read(65536))
                        if reader.at_eof():
                            raise EOFError
            except (TimeoutError, EOFError, ConnectionError):
                self.report.dropped.append(number)
                await self._hang_up()
                dialogue = E1381()
                self._framing = dialogue
                reader, writer = await self._connected()
                continue
            (self.report.answered if len(dialogue.refused) == refused else self.report.refused).append(number)

    async def _satisfied(self, raw: bytes) -> bool:
        """Wait for the answer to a message and tell whether it is the one that is wanted; others are passed over."""
        wanted = parse(raw).control_id
        while True:
            try:
                answer = parse(await self._answer())
            except NotHl7:
                self.report.strays += 1
                continue
            if answer.type == "OML":
                self.report.orders += sum(one.text(1) == "NW" for one in answer.all("ORC"))
                await self._write(wrap(self.behaviour.framing, _taken(answer)))
                continue
            if answer.get("MSA-2") == wanted:
                return answer.get("MSA-1") in self.behaviour.codes
            self.report.strays += 1

    async def _answer(self) -> bytes:
        reader, _ = await self._connected()
        while not self._answers:
            data = await reader.read(65536)
            if not data:
                raise EOFError
            self._answers += [event.payload for event in self._framing.feed(data) if isinstance(event, Frame)]
        return self._answers.pop(0)

    async def _write(self, data: bytes) -> None:
        _, writer = await self._connected()
        size = max(1, -(-len(data) // self.behaviour.pieces))
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await writer.drain()
            if self.behaviour.pieces > 1:
                await asyncio.sleep(0)
        if self.behaviour.framing == "none":
            # only silence tells the end of such a message
            await asyncio.sleep(self._scale)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
            self._framing = framing(self.behaviour.framing)
            self._answers.clear()
        return self._streams

    async def _beat(self) -> None:
        while True:
            if self._streams is not None:
                self._streams[1].write(self.behaviour.heartbeat)
            await asyncio.sleep(self.behaviour.heartbeat_seconds * self._scale)

    async def _hang_up(self) -> None:
        if self._streams is None:
            return
        writer = self._streams[1]
        self._streams = None
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
