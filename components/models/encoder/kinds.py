"""The kinds of encoder that can be adapted to labels. Nothing heavy is imported here.

A test tries the transformers classifier of each kind, from training to int8.
"""

HEAD_DROPOUT: dict[str, str | None] = {
    "albert": "classifier_dropout_prob",
    "bert": "classifier_dropout",
    "camembert": "classifier_dropout",
    "deberta-v2": "cls_dropout",
    "distilbert": "seq_classif_dropout",
    "electra": "classifier_dropout",
    "modernbert": "classifier_dropout",
    "mpnet": None,
    "roberta": "classifier_dropout",
    "xlm-roberta": "classifier_dropout",
}
"""The name of the setting of the classifier's dropout, by the encoder's kind, which is `model_type` in config.json.

None stands for a kind whose classifier has the encoder's own dropout.
"""


def refusal(model_type: object) -> str | None:
    """Return, in one line, why an encoder of this kind cannot be used; None where it can."""
    if model_type in HEAD_DROPOUT:
        return None
    return (
        f"an encoder of the kind {model_type!r} (model_type of its config.json) is not supported; choose one of "
        f"{', '.join(HEAD_DROPOUT)}"
    )
