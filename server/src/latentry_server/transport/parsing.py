"""What is looked at in a message's bytes before they are parsed: whether it would take far more room than they do."""

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from latentry_server.errors import InvalidInputError

MAX_FIELDS = 10_000
"""Most fields of a message, those of its parts included."""

MAX_NUMBERS = 2**22
"""Most bytes of the whole numbers that a message has lists of: a number is at least one."""

_VARINTS = {
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_SINT32,
    FieldDescriptor.TYPE_SINT64,
    FieldDescriptor.TYPE_BOOL,
    FieldDescriptor.TYPE_ENUM,
}


class GrowthCheck:
    """Refuses messages of a type that would grow by their parsing.

    An empty part takes two bytes and, as a message, a hundred; a small number one byte and, as a number, eight. 64 MiB
    of them would take gigabytes, and the event loop for seconds. Most messages are too short to hold so many, and are
    not looked at.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor
        self._harmless_bytes = 2 * MAX_FIELDS if has_repeated_parts(descriptor) else MAX_NUMBERS

    def __call__(self, content: bytes) -> None:
        """Look at a message; what is none is left to the parser to refuse.

        Raises:
            InvalidInputError: there are more fields or numbers than may be, or groups, which proto3 does not have.
        """
        if len(content) <= self._harmless_bytes:
            return
        count = _Count(content)
        try:
            count.add(0, len(content), self._descriptor)
        except (IndexError, ValueError):
            return


def has_repeated_parts(descriptor: Descriptor) -> bool:
    """Tell whether messages of a type can hold any number of other messages; the type is not part of itself."""
    parts = [(field.is_repeated, field.message_type) for field in descriptor.fields if field.message_type is not None]
    return any(is_repeated or has_repeated_parts(part) for is_repeated, part in parts)


class _Count:
    """The fields and numbers of one message."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._fields = 0
        self._numbers = 0

    def add(self, position: int, end: int, descriptor: Descriptor) -> None:
        """Count those between two places."""
        while position < end:
            self._fields += 1
            _check("fields, those of its parts included", self._fields, MAX_FIELDS)
            tag, position = self._read_varint(position)
            match tag & 7:  # the wire type: varint, 64 bits, length-delimited, 32 bits
                case 0:
                    _, position = self._read_varint(position)
                case 1:
                    position += 8
                case 2:
                    length, position = self._read_varint(position)
                    if field := descriptor.fields_by_number.get(tag >> 3):
                        self._look_into(field, position, length)
                    position += length
                case 5:
                    position += 4
                case _:
                    # A parser would step over it, and what is behind it must be counted; but nobody sends any.
                    raise InvalidInputError("request", expected="a message of the method's type", got="a group")

    def _look_into(self, field: FieldDescriptor, position: int, length: int) -> None:
        if field.message_type is not None:
            self.add(position, position + length, field.message_type)
        elif field.type in _VARINTS:
            self._numbers += length
            _check("bytes of numbers in lists", self._numbers, MAX_NUMBERS)

    def _read_varint(self, position: int) -> tuple[int, int]:
        """Read a number, and where what follows it begins."""
        number = 0
        for shift in range(0, 64 + 6, 7):
            byte = self._content[position]
            position += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number, position
        raise ValueError("no number has more than ten bytes")


def _check(what: str, count: int, limit: int) -> None:
    if count > limit:
        raise InvalidInputError("request", expected=f"at most {limit} {what}", got="more")
