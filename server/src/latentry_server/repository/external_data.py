"""Whether an ONNX file points at data outside itself, without the onnx package.

The schema below holds only the fields of onnx.proto that lead to tensors. protobuf skips all others.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from latentry_server.errors import BundleInvalidError

_EXTERNAL = 1  # TensorProto.DataLocation
_SCHEMA: dict[str, dict[str, tuple[int, str]]] = {
    "ModelProto": {
        "graph": (7, "GraphProto"),
        "training_info": (20, "TrainingInfoProto"),
        "functions": (25, "FunctionProto"),
    },
    "TrainingInfoProto": {"initialization": (1, "GraphProto"), "algorithm": (2, "GraphProto")},
    "GraphProto": {
        "node": (1, "NodeProto"),
        "initializer": (5, "TensorProto"),
        "sparse_initializer": (15, "SparseTensorProto"),
    },
    "FunctionProto": {"node": (7, "NodeProto"), "attribute_proto": (11, "AttributeProto")},
    "NodeProto": {"attribute": (5, "AttributeProto")},
    "AttributeProto": {
        "t": (5, "TensorProto"),
        "g": (6, "GraphProto"),
        "tensors": (10, "TensorProto"),
        "graphs": (11, "GraphProto"),
        "sparse_tensor": (22, "SparseTensorProto"),
        "sparse_tensors": (23, "SparseTensorProto"),
    },
    "SparseTensorProto": {"values": (1, "TensorProto"), "indices": (2, "TensorProto")},
    "TensorProto": {"external_data": (13, ""), "data_location": (14, "")},
}


def check_self_contained(file: str, content: bytes) -> None:
    """Refuse an ONNX file whose weights are in another file.

    Raises:
        BundleInvalidError: it has external data, or is no ONNX file.
    """
    try:
        model = _MODEL.FromString(content)
    except DecodeError as error:
        raise BundleInvalidError(f"{file}: not an ONNX file, or a truncated one") from error
    if _has_external_data(model):
        raise BundleInvalidError(f"{file}: expected all weights inside, but it points at external data")


def _has_external_data(message: Message) -> bool:
    for field, values in message.ListFields():
        if field.message_type is not None:
            if any(_has_external_data(value) for value in values):
                return True
        elif field.name == "external_data" or _EXTERNAL in values:
            return True
    return False


def _message_class() -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(name="latentry/onnx_subset.proto", package="latentry.onnx")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, (number, type_name) in fields.items():
            # All are repeated: a file that gives a single field twice hides nothing.
            added = message.field.add(name=field, number=number, label=kinds.LABEL_REPEATED)
            if type_name:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".latentry.onnx.{type_name}"
            else:
                added.type = kinds.TYPE_BYTES if field == "external_data" else kinds.TYPE_INT32
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("latentry.onnx.ModelProto"))


_MODEL = _message_class()
