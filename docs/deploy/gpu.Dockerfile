# The image of 'bentoml containerize' with the ONNX Runtime for CUDA in place of the one for processors.
ARG IMAGE
FROM ${IMAGE}
USER root
RUN uv pip uninstall onnxruntime && uv pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1"
ENV MODELYARD_DEVICE=cuda NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER bentoml
