"""A registry `attic:FOLDER`, the image of an OCI image layout, and a storage `shelf:FOLDER`, one file a blob."""
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from polyarch.contract import BlobStream, Layout, RegistryPlugin, StoragePlugin, hookimpl, parse_document

class Attic:
    def __init__(self, services): ...
    def close(self): ...
    def head(self, reference): ...

    def get(self, reference):
        layout = Layout(Path(reference.repository))
        return parse_document(layout.read_blob(reference.digest or layout.entries()[0].digest, 1 << 20))

    @contextmanager
    def open_blob(self, reference, blob, offset=0):
        with Layout(Path(reference.repository)).open_blob(blob.digest) as stream:
            yield BlobStream(stream.seek(offset), iter(lambda: stream.read(1 << 16), b""))

class Box(FileIO):
    offset = property(FileIO.tell)
    def kept(self): return iter(())
    def restart(self): self.truncate(self.seek(0))
    def finish(self): self.name.rename(self.name.with_suffix(""))

class Shelf:
    def __init__(self, services): self.folder = Path(services.location)

    def close(self): ...
    def find(self, reference): return ()

    def has_blob(self, blob):
        return (self.folder / blob.digest[7:]).exists()

    def write_blob(self, blob):
        return Box(self.folder / (blob.digest[7:] + ".part"), "w")

    def commit(self, image):
        (self.folder / "NAMES").open("a").write(f"{image.reference} {image.manifest.digest} {image.platform}\n")

@hookimpl
def polyarch_registries():
    yield RegistryPlugin("attic", "layouts in folders", Attic, schemes=("attic",))

@hookimpl
def polyarch_storages():
    yield StoragePlugin("shelf", "one file a blob", Shelf)
