"""How much of what comes from registries is read, all in one place; docs/trust.md says which test holds each.

Sizes are in bytes as they are after a content encoding is undone. What is beyond a limit is refused, never cut, where
no line says otherwise.
"""

from __future__ import annotations

# Documents
MAX_DOCUMENT_SIZE = 4 << 20
"""Of a manifest or index; the distribution-spec asks registries to take at least this (manifests, "Pushing")."""

MAX_CONFIG_SIZE = 8 << 20
"""Of an image config."""

MAX_INDEX_ENTRIES = 1000
"""Entries of one index; also all those of the indexes within it together."""

MAX_LAYERS = 1000
"""Layers of one manifest; engines mount fewer (docker 127)."""

MAX_NESTING = 4
"""How deep indexes may stand within indexes."""

MAX_READ_SIZE = 64 << 20
"""All documents of one repository that a command asks a registry for: indexes, manifests, configs."""

MAX_READ_DOCUMENTS = 10_000
"""How many these may be."""

MAX_JSON_DEPTH = 64
"""Levels of lists and objects within each other; honest documents need less than ten."""

MAX_JSON_VALUES = 200_000
"""Values in one JSON text, which take far more memory than the text does. A long one may have more: see the next."""

JSON_VALUE_SIZE = 16
"""Bytes of a long JSON text for each value in it."""

# Layers
MAX_LAYER_SIZE = 64 << 30
"""Of one layer, uncompressed; also of all its files with holes together, holes and all. Setting `max_layer_size`."""

MAX_IMAGE_ENTRIES = 350_000
"""Entries in the archives of all layers of one image; long names, attributes, maps of holes and directories count for
more, see `unpack/limits.py`. Setting `max_image_entries`."""

MAX_LAYER_RATIO = 500
"""Bytes that come of one compressed byte, once there are more than a GiB; deflate can do 1,032. Setting
`max_layer_ratio`."""

MAX_EXTENDED_HEADER = 1 << 20
"""Of one extended header in the archive of a layer (pax, or a GNU long name)."""

MAX_ATTRIBUTE = 64 << 10
"""Of one extended attribute; Linux has none longer (limits.h, XATTR_SIZE_MAX)."""

MAX_HARD_LINKS = 65_000 - 1
"""To one file of a layer: a file has at most 65,000 names on ext4 (Linux, fs/ext4/ext4.h, EXT4_LINK_MAX)."""

MAX_TOC_SIZE = 32 << 20
"""Of a layer's table of contents (zstd:chunked, eStargz), uncompressed, and of all from there to the blob's end; what
has a larger one is fetched whole."""

MAX_TOC_ENTRIES = 200_000
"""Entries of such a table."""

# Answers
MAX_REFUSAL = 64 << 10
"""Of an error's body, which is cut there."""

MAX_TOKEN_ANSWER = 64 << 10
"""Of a token server's answer."""

MAX_HEAD = 64 << 10
"""Of what comes before a body: status lines (1xx, too) and header fields; a single read may bring more."""

MAX_IDLE_TALK = 1 << 20
"""Of what comes on the wire without a byte of a body in it: frames of HTTP/2, extensions of chunks."""

MAX_WIRE_RATIO = 16
"""Bytes on the wire for each of a body, once there are MAX_IDLE_TALK more: a chunk of one byte takes six."""

MAX_HEAD_WAITS = 2
"""Times `read_timeout` (setting) that a whole head is waited for, however well it gets on."""

MAX_CHALLENGE = 16 << 10
"""Characters of a WWW-Authenticate field, which is cut there."""

MAX_DISCARDED = 64 << 10
"""Of a body that nobody wants, read to keep its connection; for a longer one the connection is closed."""

MAX_DISCARDING = 5.0
"""Seconds that a body which nobody needs (an error's, a redirect's) gets; then it is left as it is."""

LEAST_PROGRESS = 1 << 10
"""What has to come of a head, then of a body, for each `read_timeout` (setting) that is waited: what brings less stands
still."""

# The way there
MAX_SHORT_CHUNKS = 16
"""Chunks of one upload of which a registry took a part only: the rest is sent again."""

MAX_REDIRECTS = 5
"""Of one request."""

MAX_CHALLENGES = 2
"""Times that one request is sent again because its login was asked for: once for none, once for an old one."""

MAX_ASKED_PAUSE = 60.0
"""Seconds. A server that asks for a longer pause (Retry-After), or whose limit is used up for longer, gets no further
try."""

# Lists
LIST_PAGE = 1000
"""Entries that are asked for at once; registries give fewer if they like."""

MAX_LIST_PAGE_SIZE = 4 << 20
"""Of one page of tags or repositories."""

MAX_LIST_SIZE = 256 << 20
"""Of all pages of one list together."""

MAX_LIST_PAGES = 10_000
"""Pages of one list."""

MAX_EMPTY_PAGES = 16
"""Pages in a row without a name that is new."""

MAX_LISTED_NAMES = 1_000_000
"""Names in one list of tags or repositories."""

MAX_LISTED_REFERRERS = 10_000
"""Referrers of one manifest."""
