"""What there is to type, as data: the help page and the lazy group are made of it. Imports nothing, so that the page
costs no more than Python's own start."""

SUMMARY = """\
Pulls for each device the container image variant that it can really run, and
arranges QEMU emulation where nothing native exists."""

# Title of a section -> (command, summary). A command lives in the module of that name, unless PLACES says otherwise.
SECTIONS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Images",
        (
            ("pull", "bring the right variant of an image"),
            ("resolve", "tell which variant would be taken, and why no other"),
            ("run", "start an image's program, emulated where needed"),
            ("build", "make an image from a Dockerfile, for several platforms"),
            ("image", "images at hand: ls, inspect, history, files, diff, save, rm, …"),
            ("images", "the same as image ls"),
            ("verify", "read a stored image again and hold it against its promises"),
        ),
    ),
    (
        "Containers",
        (
            ("container", "containers made and started in two steps: create, start"),
            ("ps", "list containers"),
            ("cp", "copy files into a container, or out of it"),
            ("exec", "start one more program in a container that runs"),
            ("logs", "what a container has written"),
            ("diff", "what a container has changed of its image's files"),
            ("commit", "freeze what a container has written into an image"),
            ("stop", "ask containers to end"),
            ("rm", "take containers away"),
        ),
    ),
    (
        "Registries",
        (
            ("push", "upload an image at hand, all its variants under one index"),
            ("copy", "from one registry to another, with all that refers to it"),
            ("index", "join images under one name: create, append, remove, inspect"),
            ("search", "find repositories by a word"),
            ("tags", "list the tags of a repository"),
            ("login", "keep credentials for a registry"),
            ("logout", "forget the credentials of a registry"),
            ("lock", "write down what image names stand for, and tell what moved"),
            ("serve", "offer the images at hand as a registry"),
        ),
    ),
    (
        "Devices",
        (
            ("device", "what this machine, or another one, can execute"),
            ("emulator", "what the kernel has registered: status, install, remove, test"),
            ("emulate", "run any command in a private emulation"),
        ),
    ),
    (
        "Fleets",
        (("fleet", "many devices at once: plan, pull, status, report"),),
    ),
    (
        "polyarch itself",
        (
            ("plugin", "plugins: ls, show, check, new"),
            ("doctor", "what works here, what does not, and what mends it"),
            ("completion", "print the completion script of a shell"),
        ),
    ),
)

PLACES = {"images": ("image", "ls"), "logout": ("login", "logout")}
"""Commands that live in another command's module: module and name there."""

INSTEAD = {
    "attach": "logs -f, exec -it",
    "buildx": "build",
    "container attach": "logs -f, exec -it",
    "container inspect": "ps --format json",
    "container kill": "stop -t 0",
    "container list": "ps",
    "create": "container create",
    "export": "cp",
    "history": "image history",
    "image build": "build",
    "image import": "image load",
    "image list": "image ls",
    "image pull": "pull",
    "image push": "push",
    "image remove": "image rm",
    "import": "image load",
    "index annotate": "index create",
    "index push": "index create",
    "index rm": "index remove",
    "info": "doctor, device",
    "inspect": "image inspect, ps --format json",
    "kill": "stop -t 0",
    "load": "image load",
    "manifest": "index create, index inspect",
    "rmi": "image rm",
    "save": "image save",
    "start": "container start, run -d",
    "system": "image prune, doctor",
    "tag": "image tag",
    "version": "--version",
}
"""Commands of docker that are not here, and what comes next to each."""

# Name of a value -> flags, the word for the value ("" for a switch), help.
SHARED_OPTIONS: tuple[tuple[str, tuple[str, ...], str, str], ...] = (
    ("root", ("--root",), "DIR", "images and containers [$POLYARCH_ROOT]"),
    ("config", ("--config",), "FILE", "settings, a TOML file [$POLYARCH_CONFIG]"),
    ("format", ("--format",), "table|json", "json: one object a line on stdout"),
    ("quiet", ("-q", "--quiet"), "", "only the identifiers, one a line"),
    ("progress", ("--progress",), "auto|plain|json|none", "bars on a terminal, else lines"),
    ("tls_verify", ("--tls-verify/--no-tls-verify",), "", "whether certificates are checked"),
    ("debug", ("--debug",), "", "show where in polyarch an error came from"),
)
HELP_OPTION = ("-h, --help", "show this text")
VERSION_OPTION = ("--version", "show the version")

EXAMPLES = (
    "polyarch pull alpine",
    "polyarch run --rm --platform linux/arm64 alpine uname -m",
)

EXIT_CODES = {
    0: "done",
    1: "a defect in polyarch",
    2: "the words of the command are wrong",
    3: "the registry or the storage does not have it",
    4: "no variant can run on the device",
    5: "credentials are missing or refused",
    6: "network or registry fault that outlasted the retries",
    7: "what came is not what was promised",
    8: "this machine lacks something: emulator, kernel feature, permission",
    9: "disk full, or the storage is locked or corrupt",
    10: "some succeeded, some did not",
    125: "polyarch itself failed",
    126: "the program cannot be executed",
    127: "the program was not found",
    130: "interrupted; what was fetched is kept",
}


def commands() -> dict[str, str]:
    """Each command and its summary, in the order of the page."""
    return {name: summary for _, entries in SECTIONS for name, summary in entries}
