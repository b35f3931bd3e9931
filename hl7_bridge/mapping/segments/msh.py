"""MSH: the header. It says how a message is read and answered, and who has sent it; nothing of a patient.

https://hl7.org/fhir/uv/v2mappings/ (MSH to MessageHeader, Provenance): messages are no MessageHeader here, the pipeline writes a
Provenance that leads to the raw message.
"""

SKIPS = {
    "MSH-1, MSH-2": "The delimiters are used to read the message.",
    "MSH-3..6": "Sender and receiver choose the connection, whose name is in meta.source and Provenance.",
    "MSH-8": "Security of the sender's making is kept in the raw message.",
    "MSH-10": "The control id is told again in answers and trusted for nothing.",
    "MSH-11": "The processing id is used to tell patients from quality control.",
    "MSH-12": "The version is told again in answers.",
    "MSH-13, MSH-14": "Sequence and continuation are kept in the raw message.",
    "MSH-15, MSH-16": "Which answers are wanted is used to answer.",
    "MSH-17": "The country is kept in the raw message.",
    "MSH-18": "The character set is used to read the message.",
    "MSH-19, MSH-20": "Language and alternate character sets are kept in the raw message.",
    "MSH-21": "Profiles are used to answer queries.",
}
