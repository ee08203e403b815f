"""The typed sections of params.yaml, whose fields have the names of its keys.

`Recipe` gathers them: a section for each stage, some of them by task or model family, and the optional sections about
what happens to the model after the stages. Every value that changes results stands in params.yaml; no field has a
default, except keys that a source, a format or a contract does not need at all (None then means 'not given').
"""

from components.params.arrays import ArrayData
from components.params.behaviour import Behaviour, BehaviourCheck
from components.params.compress import (
    Compress,
    CompressionGate,
    Fp16,
    Fp32,
    Int4,
    Int8,
    Int8Static,
    Pruned,
    ShapeSearch,
    Students,
)
from components.params.devices import Devices
from components.params.explain import Explain, ExplainTexts
from components.params.families import FAMILIES, EncoderSettings, FamilySettings, ModelSettings
from components.params.finetune import (
    Adapt,
    Augment,
    Finetune,
    Full,
    HeadOnly,
    LastLayers,
    Lora,
    NoFinetuning,
    TrainFromLabels,
)
from components.params.ingest import CsvFormat, Format, Ingest, PlainFormat
from components.params.judging import (
    Bootstrap,
    Calibrate,
    ClassifierFigures,
    FindSlices,
    FindTextSlices,
    LabelErrors,
    QualityGate,
)
from components.params.monitoring import Effects, Limits, Monitoring, Quality
from components.params.package import Package
from components.params.pretrain import Adversarial, Causal, Load, Masked, NoPretraining, Pretrain, PretrainFromData
from components.params.promotion import LatencyGate, Promotion, SliceGate
from components.params.recipe import Recipe
from components.params.schedule import RunSchedule
from components.params.section import Name, Positive, Section, Sha256, Share
from components.params.service import Canary, NoCanary, Service
from components.params.sources import (
    DataSource,
    FileSource,
    FolderSource,
    GeneratorSource,
    HubSource,
    ModelSource,
    RegistrySource,
    SqlSource,
    UrlSource,
)
from components.params.split import Split
from components.params.students import AlterTexts, Distillation, Shape
from components.params.tasks import SECTIONS, Evaluate, Preprocess, Serving
from components.params.tasks.array_classification import (
    ArrayClassificationData,
    ArrayClassificationFigures,
    ArrayClassificationServing,
    LogisticBaseline,
)
from components.params.tasks.image_generation import (
    ImageGenerationData,
    ImageGenerationFigures,
    ImageGenerationServing,
    SampleGate,
)
from components.params.tasks.text_classification import (
    Baseline,
    TextClassificationData,
    TextClassificationFigures,
    TextClassificationServing,
)
from components.params.tasks.text_generation import (
    LanguageGate,
    Samples,
    TextGenerationData,
    TextGenerationFigures,
    TextGenerationServing,
)
from components.params.texts import NearDuplicates, Tokenizer, TrainedTokenizer
from components.params.training import Checkpoints, Clip, EarlyStopping, Optimizer, Rollback, Schedule, Training
from components.params.validate import Between, Contract, Validate, Values

__all__ = [
    "FAMILIES",
    "SECTIONS",
    "Adapt",
    "Adversarial",
    "AlterTexts",
    "ArrayClassificationData",
    "ArrayClassificationFigures",
    "ArrayClassificationServing",
    "ArrayData",
    "Augment",
    "Baseline",
    "Behaviour",
    "BehaviourCheck",
    "Between",
    "Bootstrap",
    "Calibrate",
    "Canary",
    "Causal",
    "Checkpoints",
    "ClassifierFigures",
    "Clip",
    "Compress",
    "CompressionGate",
    "Contract",
    "CsvFormat",
    "DataSource",
    "Devices",
    "Distillation",
    "EarlyStopping",
    "Effects",
    "EncoderSettings",
    "Evaluate",
    "Explain",
    "ExplainTexts",
    "FamilySettings",
    "FileSource",
    "FindSlices",
    "FindTextSlices",
    "Finetune",
    "FolderSource",
    "Format",
    "Fp16",
    "Fp32",
    "Full",
    "GeneratorSource",
    "HeadOnly",
    "HubSource",
    "ImageGenerationData",
    "ImageGenerationFigures",
    "ImageGenerationServing",
    "Ingest",
    "Int4",
    "Int8",
    "Int8Static",
    "LabelErrors",
    "LanguageGate",
    "LastLayers",
    "LatencyGate",
    "Limits",
    "Load",
    "LogisticBaseline",
    "Lora",
    "Masked",
    "ModelSettings",
    "ModelSource",
    "Monitoring",
    "Name",
    "NearDuplicates",
    "NoCanary",
    "NoFinetuning",
    "NoPretraining",
    "Optimizer",
    "Package",
    "PlainFormat",
    "Positive",
    "Preprocess",
    "Pretrain",
    "PretrainFromData",
    "Promotion",
    "Pruned",
    "Quality",
    "QualityGate",
    "Recipe",
    "RegistrySource",
    "Rollback",
    "RunSchedule",
    "SampleGate",
    "Samples",
    "Schedule",
    "Section",
    "Service",
    "Serving",
    "Sha256",
    "Shape",
    "ShapeSearch",
    "Share",
    "SliceGate",
    "Split",
    "SqlSource",
    "Students",
    "TextClassificationData",
    "TextClassificationFigures",
    "TextClassificationServing",
    "TextGenerationData",
    "TextGenerationFigures",
    "TextGenerationServing",
    "Tokenizer",
    "TrainFromLabels",
    "TrainedTokenizer",
    "Training",
    "UrlSource",
    "Validate",
    "Values",
]
