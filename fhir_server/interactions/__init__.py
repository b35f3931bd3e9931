"""One file for each FHIR interaction; `writing` is the door to every write. https://hl7.org/fhir/R4/http.html"""
