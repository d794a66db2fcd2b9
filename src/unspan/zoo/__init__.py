"""Small networks that a spec can name, as `python:unspan.zoo:AllCNN`.

Each trains on a processor, takes `num_classes` and documents its input as a plain dict,
`preprocess`.
"""

from unspan.zoo.allcnn import AllCNN
from unspan.zoo.digits import DigitsCNN, wide_digits
from unspan.zoo.efficientnet import EfficientNetLite0, efficientnet_lite0
from unspan.zoo.face import FaceIdentities, FaceNet, face_identities, face_net
from unspan.zoo.resnet import CifarResNet, resnet20, resnet32, resnet44, resnet56
from unspan.zoo.strided import StridedCNN
from unspan.zoo.vit import NarrowViT

__all__ = [
    "AllCNN",
    "CifarResNet",
    "DigitsCNN",
    "EfficientNetLite0",
    "FaceIdentities",
    "FaceNet",
    "NarrowViT",
    "StridedCNN",
    "efficientnet_lite0",
    "face_identities",
    "face_net",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "wide_digits",
]
