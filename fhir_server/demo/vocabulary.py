"""What is diagnosed, measured, prescribed, given and charged in the demo: codes with short names of our own.

Codes: SNOMED CT, ICD-10, LOINC, UCUM, ATC and CVX; a small choice of each for an example hospital.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """A diagnosis. `ages` is the range it occurs in; `drugs` are keys of DRUGS; `service` the clinic that sees it."""

    snomed: str
    icd10: str
    name: str
    service: str
    ages: tuple[int, int]
    drugs: tuple[str, ...] = ()
    panels: tuple[str, ...] = ()
    procedure: str | None = None


@dataclass(frozen=True, slots=True)
class Analyte:
    """A laboratory value: reference range low to high, of `digits` decimals."""

    loinc: str
    name: str
    unit: str
    low: str
    high: str
    digits: int


@dataclass(frozen=True, slots=True)
class Drug:
    """A product of the pharmacy. `pack` is the number of units dispensed, `days` what they last for."""

    atc: str
    name: str
    strength: str
    form: str
    dose: str
    per_day: int
    pack: int
    route: tuple[str, str] = ("26643006", "Oral route")


CHRONIC = (
    Problem(
        "38341003",
        "I10",
        "High blood pressure",
        "cardiology",
        (40, 99),
        ("ramipril", "amlodipine"),
        ("chemistry",),
    ),
    Problem(
        "44054006",
        "E11.9",
        "Type 2 diabetes",
        "medicine",
        (40, 99),
        ("metformin",),
        ("diabetes", "chemistry"),
    ),
    Problem("195967001", "J45.9", "Asthma", "medicine", (4, 70), ("salbutamol",)),
    Problem("13645005", "J44.9", "COPD", "medicine", (50, 99), ("salmeterol",), ("blood-count",)),
    Problem(
        "84114007",
        "I50.9",
        "Heart failure",
        "cardiology",
        (60, 99),
        ("bisoprolol", "furosemide"),
        ("chemistry",),
    ),
    Problem(
        "49436004", "I48.9", "Atrial fibrillation", "cardiology", (60, 99), ("apixaban",), ("chemistry",)
    ),
    Problem("55822004", "E78.5", "High blood lipids", "medicine", (40, 99), ("atorvastatin",), ("lipids",)),
    Problem(
        "40930008", "E03.9", "Underactive thyroid", "medicine", (25, 99), ("levothyroxine",), ("thyroid",)
    ),
    Problem("35489007", "F32.9", "Depression", "medicine", (18, 90), ("sertraline",)),
    Problem("396275006", "M19.9", "Osteoarthritis", "orthopaedics", (50, 99), ("paracetamol",)),
    Problem(
        "709044004", "N18.9", "Chronic kidney disease", "medicine", (55, 99), ("ramipril",), ("chemistry",)
    ),
    Problem("235595009", "K21.9", "Reflux disease", "medicine", (25, 90), ("pantoprazole",)),
    Problem("37796009", "G43.9", "Migraine", "medicine", (14, 60), ("ibuprofen",)),
    Problem("24079001", "L20.9", "Atopic eczema", "dermatology", (1, 60)),
)
MINOR = (
    Problem("195662009", "J02.9", "Viral sore throat", "medicine", (2, 90), ("paracetamol",)),
    Problem("10509002", "J20.9", "Acute bronchitis", "medicine", (5, 99), ("paracetamol",), ("blood-count",)),
    Problem(
        "68566005",
        "N39.0",
        "Urinary tract infection",
        "medicine",
        (16, 99),
        ("nitrofurantoin",),
        ("blood-count",),
    ),
    Problem("271737000", "D64.9", "Anaemia", "medicine", (5, 99), (), ("blood-count",)),
    Problem("239873007", "M17.9", "Osteoarthritis of the knee", "orthopaedics", (45, 99), ("ibuprofen",)),
    Problem("65363002", "H66.9", "Middle ear infection", "paediatrics", (0, 15), ("amoxicillin",)),
)
URGENT = (
    Problem("44465007", "S93.4", "Sprained ankle", "emergency", (6, 90), ("ibuprofen",)),
    Problem("29857009", "R07.4", "Chest pain", "emergency", (30, 99), (), ("chemistry", "cardiac")),
    Problem(
        "21522001",
        "R10.4",
        "Abdominal pain",
        "emergency",
        (5, 99),
        ("paracetamol",),
        ("blood-count", "chemistry"),
    ),
    Problem("62106007", "S06.0", "Concussion", "emergency", (3, 90)),
    Problem("386661006", "R50.9", "Fever", "emergency", (0, 99), ("paracetamol",), ("blood-count",)),
    Problem("25064002", "R51", "Headache", "emergency", (8, 90), ("ibuprofen",)),
)
# ward of the house: what brings patients there
ADMISSIONS: dict[str, tuple[Problem, ...]] = {
    "medicine": (
        Problem("233604007", "J18.9", "Pneumonia", "medicine", (16, 99), ("ceftriaxone",), ("blood-count", "chemistry")),
        Problem("128045006", "L03.9", "Cellulitis", "medicine", (16, 99), ("ceftriaxone",), ("blood-count",)),
        Problem("230690007", "I64", "Stroke", "medicine", (50, 99), ("aspirin",), ("chemistry", "lipids"), "ct-head"),
        Problem("68566005", "N39.0", "Urinary tract infection", "medicine", (60, 99), ("ceftriaxone",), ("blood-count",)),
    ),
    "surgery": (
        Problem("74400008", "K35.8", "Appendicitis", "surgery", (16, 70), ("ceftriaxone", "paracetamol"), ("blood-count",), "appendectomy"),
        Problem("5913000", "S72.0", "Broken hip", "surgery", (65, 99), ("enoxaparin", "morphine"), ("blood-count",), "hip-replacement"),
        Problem("235919008", "K80.2", "Gallstones", "surgery", (25, 85), ("paracetamol",), ("chemistry",), "cholecystectomy"),
        Problem("65966004", "S52.9", "Broken forearm", "surgery", (16, 90), ("morphine",), ("blood-count",), "fracture-fixation"),
    ),
    "cardiology": (
        Problem("22298006", "I21.9", "Heart attack", "cardiology", (40, 99), ("aspirin", "bisoprolol", "atorvastatin"), ("chemistry", "cardiac"), "coronary-intervention"),
        Problem("84114007", "I50.9", "Heart failure", "cardiology", (55, 99), ("furosemide",), ("chemistry",), "echocardiography"),
        Problem("49436004", "I48.9", "Atrial fibrillation", "cardiology", (55, 99), ("apixaban", "bisoprolol"), ("chemistry",), "echocardiography"),
    ),
    "paediatrics": (
        Problem("4120002", "J21.9", "Bronchiolitis", "paediatrics", (0, 2), ("paracetamol",), ("blood-count",)),
        Problem("74400008", "K35.8", "Appendicitis", "paediatrics", (5, 15), ("paracetamol",), ("blood-count",), "appendectomy"),
        Problem("195967001", "J45.9", "Asthma attack", "paediatrics", (3, 15), ("salbutamol",), ("blood-count",)),
    ),
    "intensive-care": (
        Problem("91302008", "A41.9", "Sepsis", "intensive-care", (16, 99), ("ceftriaxone", "enoxaparin"), ("blood-count", "chemistry")),
        Problem("59282003", "I26.9", "Lung embolism", "intensive-care", (30, 99), ("enoxaparin",), ("chemistry", "cardiac")),
    ),
}  # fmt: skip

PANELS: dict[str, tuple[str, str, tuple[Analyte, ...]]] = {
    "blood-count": (
        "58410-2",
        "Blood count",
        (
            Analyte("718-7", "Haemoglobin", "g/dL", "12.0", "17.0", 1),
            Analyte("6690-2", "White cells", "10*9/L", "4.0", "11.0", 1),
            Analyte("777-3", "Platelets", "10*9/L", "150", "400", 0),
            Analyte("1988-5", "C-reactive protein", "mg/L", "0.0", "5.0", 1),
        ),
    ),
    "chemistry": (
        "51990-0",
        "Basic chemistry",
        (
            Analyte("2951-2", "Sodium", "mmol/L", "136", "145", 0),
            Analyte("2823-3", "Potassium", "mmol/L", "3.5", "5.1", 1),
            Analyte("14682-9", "Creatinine", "umol/L", "60", "110", 0),
            Analyte("22664-7", "Urea", "mmol/L", "2.5", "7.8", 1),
            Analyte("14749-6", "Glucose", "mmol/L", "4.0", "7.0", 1),
        ),
    ),
    "lipids": (
        "57698-3",
        "Lipids",
        (
            Analyte("14647-2", "Cholesterol", "mmol/L", "3.00", "5.00", 2),
            Analyte("14646-4", "HDL cholesterol", "mmol/L", "1.00", "2.20", 2),
            Analyte("14927-8", "Triglycerides", "mmol/L", "0.50", "1.70", 2),
        ),
    ),
    "diabetes": ("4548-4", "HbA1c", (Analyte("4548-4", "HbA1c", "%", "4.0", "6.0", 1),)),
    "thyroid": ("3016-3", "TSH", (Analyte("3016-3", "TSH", "m[IU]/L", "0.40", "4.00", 2),)),
    "cardiac": ("10839-9", "Troponin I", (Analyte("10839-9", "Troponin I", "ug/L", "0.00", "0.04", 2),)),
}

PROCEDURES: dict[str, tuple[str, str, str]] = {
    # key: SNOMED CT code, name, category code
    "appendectomy": ("80146002", "Appendectomy", "387713003"),
    "hip-replacement": ("52734007", "Total hip replacement", "387713003"),
    "cholecystectomy": ("38102005", "Gallbladder removal", "387713003"),
    "fracture-fixation": ("179097007", "Fixation of a fracture", "387713003"),
    "coronary-intervention": ("415070008", "Coronary intervention", "387713003"),
    "echocardiography": ("40701008", "Echocardiography", "103693007"),
    "ct-head": ("303653007", "CT of the head", "103693007"),
    "chest-x-ray": ("399208008", "Chest X-ray", "103693007"),
    "electrocardiogram": ("29303009", "Electrocardiogram", "103693007"),
}
CATEGORY_NAMES = {"387713003": "Surgical procedure", "103693007": "Diagnostic procedure"}

INTRAVENOUS = ("47625008", "Intravenous route")
SUBCUTANEOUS = ("34206005", "Subcutaneous route")
INHALED = ("447694001", "Respiratory tract route")
DRUGS: dict[str, Drug] = {
    "ramipril": Drug("C09AA05", "Ramipril", "5 mg", "tablet", "1", 1, 28),
    "amlodipine": Drug("C08CA01", "Amlodipine", "5 mg", "tablet", "1", 1, 28),
    "bisoprolol": Drug("C07AB07", "Bisoprolol", "2.5 mg", "tablet", "1", 1, 28),
    "furosemide": Drug("C03CA01", "Furosemide", "40 mg", "tablet", "1", 1, 28),
    "apixaban": Drug("B01AF02", "Apixaban", "5 mg", "tablet", "1", 2, 56),
    "aspirin": Drug("B01AC06", "Aspirin", "75 mg", "tablet", "1", 1, 28),
    "atorvastatin": Drug("C10AA05", "Atorvastatin", "20 mg", "tablet", "1", 1, 28),
    "metformin": Drug("A10BA02", "Metformin", "500 mg", "tablet", "1", 2, 56),
    "levothyroxine": Drug("H03AA01", "Levothyroxine", "50 ug", "tablet", "1", 1, 28),
    "sertraline": Drug("N06AB06", "Sertraline", "50 mg", "tablet", "1", 1, 28),
    "pantoprazole": Drug("A02BC02", "Pantoprazole", "40 mg", "tablet", "1", 1, 28),
    "paracetamol": Drug("N02BE01", "Paracetamol", "500 mg", "tablet", "2", 4, 40),
    "ibuprofen": Drug("M01AE01", "Ibuprofen", "400 mg", "tablet", "1", 3, 30),
    "nitrofurantoin": Drug("J01XE01", "Nitrofurantoin", "50 mg", "capsule", "1", 4, 20),
    "amoxicillin": Drug("J01CA04", "Amoxicillin", "500 mg", "capsule", "1", 3, 21),
    "salbutamol": Drug("R03AC02", "Salbutamol", "100 ug", "puff", "2", 4, 200, INHALED),
    "salmeterol": Drug("R03AK06", "Salmeterol with fluticasone", "50 ug/250 ug", "puff", "1", 2, 60, INHALED),
    "ceftriaxone": Drug("J01DD04", "Ceftriaxone", "1 g", "vial", "1", 1, 5, INTRAVENOUS),
    "enoxaparin": Drug("B01AB05", "Enoxaparin", "40 mg", "syringe", "1", 1, 10, SUBCUTANEOUS),
    "morphine": Drug("N02AA01", "Morphine", "10 mg", "ampoule", "1", 4, 10, INTRAVENOUS),
}

ALLERGIES = (
    # SNOMED CT code, name, category, reaction code, reaction, severity
    ("764146007", "Penicillin", "medication", "271807003", "Rash", "moderate"),
    ("387458008", "Aspirin", "medication", "247472004", "Hives", "mild"),
    ("256349002", "Peanut", "food", "39579001", "Anaphylaxis", "severe"),
    ("102263004", "Egg", "food", "247472004", "Hives", "mild"),
    ("3718001", "Cow's milk", "food", "422400008", "Vomiting", "mild"),
    ("111088007", "Latex", "environment", "271807003", "Rash", "moderate"),
    ("256277009", "Grass pollen", "environment", "49727002", "Cough", "mild"),
)
VACCINES = (
    # CVX code, name, lowest age
    ("140", "Influenza vaccine", 6),
    ("115", "Tetanus, diphtheria and pertussis vaccine", 12),
    ("33", "Pneumococcal vaccine", 65),
    ("03", "Measles, mumps and rubella vaccine", 1),
    ("08", "Hepatitis B vaccine", 0),
)

PRICES = (
    # id, code, name, amount in EUR
    ("visit-new", "V100", "First visit to a clinic", "85.00"),
    ("visit-return", "V110", "Return visit to a clinic", "52.50"),
    ("visit-emergency", "V200", "Emergency visit", "140.00"),
    ("bed-day-ward", "B100", "Bed day on a ward", "412.80"),
    ("bed-day-intensive-care", "B200", "Bed day in intensive care", "1650.00"),
    ("blood-count", "L100", "Blood count", "12.50"),
    ("chemistry", "L110", "Basic chemistry", "18.40"),
    ("lipids", "L120", "Lipids", "14.75"),
    ("diabetes", "L130", "HbA1c", "16.20"),
    ("thyroid", "L140", "TSH", "15.00"),
    ("cardiac", "L150", "Troponin I", "21.90"),
    ("chest-x-ray", "R100", "Chest X-ray", "48.00"),
    ("ct-head", "R200", "CT of the head", "236.00"),
    ("electrocardiogram", "D100", "Electrocardiogram", "27.30"),
    ("echocardiography", "D200", "Echocardiography", "118.60"),
    ("appendectomy", "P100", "Appendectomy", "2480.00"),
    ("cholecystectomy", "P110", "Gallbladder removal", "2935.00"),
    ("hip-replacement", "P120", "Total hip replacement", "7860.00"),
    ("fracture-fixation", "P130", "Fixation of a fracture", "3120.00"),
    ("coronary-intervention", "P140", "Coronary intervention", "5415.00"),
    ("vaccination", "N100", "Vaccination", "9.95"),
    ("dispensing", "M100", "Dispensing of a drug", "6.50"),
    ("no-show", "A100", "Missed appointment", "25.00"),
    ("certificate", "A110", "Medical certificate", "20.00"),
)
