"""The words below the first screen."""

from __future__ import annotations

from enum import unique

from unspan.system.text_enum import TextEnum


@unique
class Rest(TextEnum):
    """Titles, captions, column names and paragraphs; `{…}` is filled in."""

    # attacks
    ATTACKS = "What attackers can still read"
    ATTACKS_SHORT = "Evidence"
    ATTACKS_LEAD = (
        "Each row is one kind of attacker with the attack that decides for him; what decides the"
        " verdict comes first. Reference: {reference}"
    )
    PART = (
        "The recoverable part says how much of what the original gave away beyond the reference is"
        " still there. 100\u00a0% means nothing was removed. What lies beyond 0 or 100\u00a0% is"
        " shown as 0 or 100\u00a0%."
    )
    DECIDING = "What decides for each kind of attacker, on the forgotten test samples"
    ALL_OF = "{name}: all attacks"
    WITH_SHOTS = "{name}: {shots} of each class"
    DECIDES = "decides"
    STOPPED = "NOT CONVERGED: this attack stopped early and could read more"
    ATTACKER = "Attacker"
    ATTACK = "Attack"
    VERDICT = "Verdict"
    BEFORE = "Before"
    AFTER = "After erasing"
    REFERENCE = "Reference"
    RECOVERABLE = "Recoverable part"
    FALSE_POSITIVES = "False positives"
    N = "n"
    MORE_SHORT = "More scores"
    # for your auditor
    AUDITOR = "For your auditor"
    AUDITOR_LEAD = (
        "Requirements of the OWASP AI Security Verification Standard 1.0 (AISVS), with what this"
        " audit shows of each."
    )
    AUDITOR_CAPTION = "AISVS C12.2 and C8: what is met, and what is not claimed"
    REQUIREMENT = "Requirement"
    RESULT = "Result"
    SHOWN = "What this audit shows"
    MET = "met here"
    NOT_MET = "not met"
    PARTLY = "partly shown"
    NOT_CLAIMED = "not claimed"
    C12_2_1 = "Deletion reaches data sets, caches, feature stores and vector stores."
    C12_2_1_SHOWN = (
        "One model file was audited. Data, caches, backups and stores were not looked at: keep your"
        " own record of them."
    )
    C12_2_2 = "Membership tests after unlearning stay under a documented threshold."
    C12_2_2_UNTESTED = "Membership of single samples was not tested."
    C12_2_2_SHOWN = (
        "Threshold: the AUC with its interval lies between {low} and {high}. Measured: {measured}"
    )
    C12_2_3 = "Unlearning retrains the model, or is certified with documented (ε, δ)."
    C12_2_3_RETRAINED = (
        "The receipt names the method retrain. That the data were left out is the statement of"
        " whoever ran it."
    )
    C12_2_3_SHOWN = "Method: {method}. It carries no (ε, δ) guarantee."
    C12_2_3_UNKNOWN = "The model does not say how it was made."
    C8 = "Memory, embeddings and vector databases hold nothing of it."
    C8_SHOWN = "{answer} Vectors made with the old model are not touched: delete them."
    STILL_IN_FEATURES = "Is it still in features of the audited model? {answer}."
    # files and hashes
    FILES = "Files and hashes"
    FILES_LEAD = (
        "A file hash is the SHA-256 of all bytes of a file. Check it with: sha256sum FILE. The"
        " deletion number is the first eight digits of: sha256sum receipt.json."
    )
    TENSOR_LEAD = (
        "The other hashes match no file. They are of what was measured, however it is stored, and"
        " unspan verify compares them."
    )
    FILES_CAPTION = "Files, as sha256sum prints them"
    HASHES_CAPTION = "Hashes of contents"
    FILE = "File"
    FILE_HASH = "SHA-256 of the file"
    ROLE = "What it is"
    HASH = "SHA-256"
    OF_WHAT = "What it is a hash of"
    NO_FILES = "The models came from memory, so there is no file hash."
    OF_ERASED = "audited model"
    OF_ORIGINAL = "original"
    OF_REFERENCE = "reference {number}"
    OUTPUTS_OF = "outputs of the {model}"
    OF_TENSORS = "names, types, shapes and bytes of the tensors of the {model}"
    OF_FIT = "samples that the attacker knows"
    OF_TEST = "samples that he is judged on"
    OF_CONFIG = "settings of the audit"
    OF_SEAL = "audit.json without this line: finds an edit, but is no signature"
    NOT_RUN_SHORT = "Not tested"
    WORDS_SHORT = "Words"
