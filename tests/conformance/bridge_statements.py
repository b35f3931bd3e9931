"""The statements of docs/bridge-conformance.md: what must be true of the bridge, how much of it, and which tests prove it.

An invariant to keep: a statement has a target before it has a figure.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statement:
    """`tests` are files of tests/bridge and, after a colon, words that a test's name has one of; all of the file without any."""

    number: int
    title: str
    text: str
    target: str
    tests: tuple[str, ...] = ()


STATEMENTS = (
    Statement(
        1,
        "Reading",
        "Every message of a corpus is read, is written again as the same bytes, and has the fields that another parser finds",
        "1,413 of 1,413; every difference named",
        ("wire_message",),
    ),
    Statement(
        2,
        "Speed of reading",
        "A core reads results, and one with 300 OBX at once",
        "≥ 50,000 a second; < 1 ms",
    ),
    Statement(3, "Speed of mapping", "A core maps results and serialises what follows", "≥ 3,000 a second"),
    Statement(
        4,
        "Taking",
        "Messages are durable before they are answered, for ten minutes on end",
        "≥ 1,000 a second on 8 connections, ≥ 400 on one; 10 min",
        ("wire_listener:before_it_is_kept",),
    ),
    Statement(
        5,
        "Answers while the store is away",
        "Senders are answered in time although nothing can be mapped and ever more waits",
        "p99 < 250 ms, longest < 5 s; 10 min, 100,000 waiting",
        (
            "core_away",
            "core_alone:server_is_down",
            "core_pipeline:cannot_be_reached,cannot_be_kept",
        ),
    ),
    Statement(
        6,
        "No loss",
        "Processes are killed at random moments; nothing acknowledged is lost, nothing is doubled by sending all again",
        "1,000 kills; 0 lost, 0 doubled",
        ("core_pipeline:next_owner,two_owners",),
    ),
    Statement(
        7,
        "Resends",
        "Telling everything twice leads to what telling it once led to",
        "no difference",
        (
            "core_twice",
            "core_replays",
            "core_pipeline:same_bytes_again",
            "results_messages:same_message_twice",
        ),
    ),
    Statement(
        8,
        "Order of arrival",
        "Preliminary, final, corrected and a late resend end at corrected in every order; a withdrawn result at entered in error",
        "every order",
        ("results_messages:every_order", "people_adt:in_any_order,who_returned,late_"),
    ),
    Statement(
        9,
        "Control ids",
        "A hundred results under one control id are a hundred Observations",
        "100 of 100",
        ("results_messages:hundred_results", "core_pipeline:constant_control_id"),
    ),
    Statement(
        10,
        "Controls",
        "Quality control and calibration never become an Observation of a patient",
        "0 Observations",
        (
            "results_messages:quality_control,control_among,marks_of_controls",
            "results_profiles:controls_among",
            "wire_astm:quality_control",
        ),
    ),
    Statement(
        11,
        "Values",
        "Each way of writing a value becomes what a table says; no number is made up",
        "≥ 60 spellings; 0 numbers made up",
        ("results_values:value,number,sentinel,decimals,spellings,range,embedded",),
    ),
    Statement(
        12,
        "Units",
        "A unit has a code only where it is valid UCUM and surely meant; each is decided",
        "all units decided; 0 codes that are not UCUM",
        ("results_values:unit,known_spelling",),
    ),
    Statement(
        13,
        "Status",
        "Each code of OBX-11 and OBR-25 has an outcome",
        "14 and 13 of them",
        ("results_messages:every_status,no_table",),
    ),
    Statement(
        14,
        "Other converters",
        "What messages become agrees with what other converters made of them, or there is a written reason",
        "≥ 95 % over 372 messages; a reason for each of the rest",
    ),
    Statement(
        15,
        "Mapping guide",
        "Rows of the segment maps are mapped, or left out for a reason",
        "≥ 90 % of each segment",
        ("people_rows",),
    ),
    Statement(
        16,
        "Order of segments",
        "SPM before or after OBR, NTE before or after OBX, no PID, no ORC: the same Observations",
        "every variant",
        ("results_messages:order_of_segments,note_stands,without_pid,patient_is_found_by_the_specimen",),
    ),
    Statement(
        17,
        "Characters",
        "Characters of ASCII, UTF-8, ISO 8859-1, UTF-8 called UNICODE, cp1252, Big5 and GB18030 are read; nothing is replaced silently",
        "7 sets; bytes that are no text are told",
        (
            "wire_message:characters_of_its_sender,no_text,several_spellings",
            "wire_serializer:charset_lacks",
            "wire_acks:characters_of_the_sender",
        ),
    ),
    Statement(
        18,
        "Hostile input",
        "Damaged messages crash nothing and stay small; floods and slow senders keep nobody else waiting",
        "100,000 messages; 0 failures, < 200 MB",
        (
            "wire_fuzz",
            "wire_framing:flood,too_long",
            "wire_listener:flood,trickling,never_ends,too_long,bounded,keeps_nobody,does_not_take",
            "wire_message:asks_for_little,any_kind",
            "wire_acks:control_byte",
            "core_pipeline:mutated",
        ),
    ),
    Statement(
        19,
        "Queues",
        "What waits for a person is mapped when it is resolved: in order, once, and it is noted who did it",
        "< 5 s",
        ("core_queues", "core_pipeline:wait_for,waits_for,did_not_help"),
    ),
    Statement(
        20,
        "Balance",
        "At any moment every message received is in one state, or was a duplicate",
        "always",
        (
            "core_server:one_state,outlive,incomplete",
            "wire_listener:every_byte",
            "wire_framing:every_byte,what_was_fed",
            "core_pipeline:mutated,broken_off",
        ),
    ),
    Statement(
        21,
        "Isolation",
        "A sender of poison, silent devices and a dead one delay nobody else",
        "p99 < 20 % longer",
        ("core_isolation", "core_pipeline:blocks_nobody", "wire_listener:keeps_nobody_else"),
    ),
    Statement(
        22,
        "LAW",
        "LAB-27, 28 and 29 of IHE LAW: query, orders, no work (DC), results, reruns; assertions LAB27-001 to 008",
        "every flow; 8 assertions",
        (
            "results_queries:law",
            "results_law",
            "outbound_valid:analyser,orders_of_a_specimen",
            "results_messages:rerun",
        ),
    ),
    Statement(
        23,
        "Visibility",
        "For each connection: last message, silence, depth, p99 of answers, reasons; no patient in a log",
        "all of them",
        ("core_server:one_state,outlive", "core_commands", "core_logs"),
    ),
    Statement(
        24,
        "New devices",
        "Sample messages become a profile that passes, without code; profiles come with samples",
        "≥ 8 profiles; < 1 h for a person",
        ("results_profiles",),
    ),
    Statement(
        25,
        "Messages that are sent",
        "Answers that are late, belong to another message, cannot be read or never come lose nothing and are given to no other message",
        "0 lost, 0 given to another",
        ("wire_sender", "outbound_outbox:without_an_answer,another_message,down,begins_anew,two_servers"),
    ),
    Statement(
        26,
        "Devices",
        "Devices that drop after 10 s, ask three times a minute apart, speak unframed or in cut frames, or send heartbeats are served",
        "6 behaviours",
        (
            "wire_simulator",
            "wire_listener:heartbeats,framings",
            "wire_astm:listened_to,frame",
            "wire_framing:unframed,heartbeats",
        ),
    ),
)
