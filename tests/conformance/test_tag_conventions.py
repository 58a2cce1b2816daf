"""The built-in tag conventions keep every promise of the kit."""

from __future__ import annotations

import pytest

from polyarch.contract import TagConvention
from polyarch.testing.conformance import TagConventionConformance
from polyarch_plugins.tag_conventions.namespace.convention import Namespace
from polyarch_plugins.tag_conventions.prefix.convention import Prefix
from polyarch_plugins.tag_conventions.repository_suffix.convention import RepositorySuffix
from polyarch_plugins.tag_conventions.suffix.convention import Suffix
from polyarch_plugins.tag_conventions.template.convention import Template


class TestSuffix(TagConventionConformance):
    @pytest.fixture
    def convention(self) -> TagConvention:
        return Suffix()


class TestPrefix(TagConventionConformance):
    @pytest.fixture
    def convention(self) -> TagConvention:
        return Prefix()


class TestNamespace(TagConventionConformance):
    @pytest.fixture
    def convention(self) -> TagConvention:
        return Namespace()


class TestRepositorySuffix(TagConventionConformance):
    @pytest.fixture
    def convention(self) -> TagConvention:
        return RepositorySuffix()


class TestTemplate(TagConventionConformance):
    @pytest.fixture
    def convention(self) -> TagConvention:
        texts = [
            "{name}:{tag}-{debian_arch}",
            "{registry}/{name}:{os}-{arch}-{variant}-{tag}",
            "{name}.{gnu_arch}:{tag}",
        ]
        return Template({"templates": texts})
