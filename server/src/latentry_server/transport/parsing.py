"""From a message's bytes to the message, unless it would take far more room and time than its bytes say."""

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from latentry_server.errors import InvalidInputError

MAX_FIELDS = 10_000
"""Most fields of a message that can hold any number of parts, those of the parts included."""


def has_repeated_parts(descriptor: Descriptor) -> bool:
    """Tell whether messages of a type can hold any number of other messages; the type is not part of itself."""
    parts = [(field.is_repeated, field.message_type) for field in descriptor.fields if field.message_type is not None]
    return any(is_repeated or has_repeated_parts(part) for is_repeated, part in parts)


def check_fields(content: bytes, descriptor: Descriptor) -> None:
    """Count a message's fields before it is parsed; what is no message is left to the parser to refuse.

    An empty part takes two bytes, and as a message a hundred times as much: 64 MiB of them would take all memory, and
    the event loop for seconds.

    Raises:
        InvalidInputError: there are more than MAX_FIELDS, or groups, which proto3 does not have.
    """
    if len(content) <= 2 * MAX_FIELDS:  # no field is shorter
        return
    try:
        left = _count(content, 0, len(content), descriptor, MAX_FIELDS)
    except (IndexError, ValueError):
        return
    if left < 0:
        raise InvalidInputError(
            "request", expected=f"at most {MAX_FIELDS} fields, those of its parts included", got="more"
        )


def _count(content: bytes, position: int, end: int, descriptor: Descriptor, left: int) -> int:
    """Take the fields from what is left of an allowance; below 0 where it does not suffice."""
    while position < end and left >= 0:
        left -= 1
        tag, position = _read_varint(content, position)
        match tag & 7:  # the wire type: varint, 64 bits, length-delimited, 32 bits
            case 0:
                _, position = _read_varint(content, position)
            case 1:
                position += 8
            case 2:
                length, position = _read_varint(content, position)
                field: FieldDescriptor | None = descriptor.fields_by_number.get(tag >> 3)
                if field is not None and field.message_type is not None:
                    left = _count(content, position, position + length, field.message_type, left)
                position += length
            case 5:
                position += 4
            case _:
                # A parser would step over it, and what is behind it must be counted; but nobody has sent one for years.
                raise InvalidInputError("request", expected="a message of the method's type", got="a group")
    return left


def _read_varint(content: bytes, position: int) -> tuple[int, int]:
    """Read a number, and where the next one begins."""
    number = 0
    for shift in range(0, 64 + 6, 7):
        byte = content[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise ValueError("no number has more than ten bytes")
