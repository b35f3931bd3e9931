"""Resources as FHIR XML and back, without loss: https://hl7.org/fhir/R4/xml.html."""

from fhir_r4.xmlio.reader import from_xml
from fhir_r4.xmlio.writer import to_xml

__all__ = ["from_xml", "to_xml"]
