"""Whatever the description of the application allows, and what it does not, is answered in its terms."""

import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from modicum.serving.app import create_app
from modicum.serving.shell import Limits

CHECKS = (
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
    content_type_conformance,
)


@pytest.fixture
def described(live, store):
    app = create_app(live, Limits(hosts=("*",)))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


OPERATIONS = [
    ("/recommend", "POST"),
    ("/domains", "GET"),
    ("/events", "POST"),
    ("/users/{user}/history", "GET"),
    ("/users/{user}/history", "DELETE"),
    ("/healthz", "GET"),
    ("/readyz", "GET"),
    ("/metrics", "GET"),
]


def test_every_operation_is_tried(described):
    found = [operation.ok() for operation in described.get_all_operations()]
    assert {(one.path, one.method.upper()) for one in found} == {*OPERATIONS}


@pytest.mark.parametrize(("place", "method"), OPERATIONS)
def test_no_request_that_the_description_allows_breaks_the_server(described, place, method):
    @given(case=described[place][method].as_strategy())
    @settings(max_examples=30, deadline=None, derandomize=True)
    def holds(case) -> None:
        case.call_and_validate(checks=CHECKS)

    holds()
