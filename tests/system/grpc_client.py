"""The admin API as a Python program of an operator uses it: over the Unix
socket, with what the server's reflection tells and no generated code.

    grpc_client.py SOCKET LISTENER
"""

import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "netd.admin.v1.Admin"
path, listener = sys.argv[1:]
channel = grpc.insecure_channel(
    f"unix:{path}",
    # Without it gRPC's C core sends the socket's path as :authority, which is
    # no authority (docs/admin-api.md).
    options=[("grpc.default_authority", "localhost")],
)
database = ProtoReflectionDescriptorDatabase(channel)
service = descriptor_pool.DescriptorPool(database).FindServiceByName(SERVICE)


def call(rpc, /, **fields):
    """An answer, or the list of answers of a stream."""
    method = service.methods_by_name[rpc]
    request = message_factory.GetMessageClass(method.input_type)
    answer = message_factory.GetMessageClass(method.output_type)
    open_call = channel.unary_stream if method.server_streaming else channel.unary_unary
    stub = open_call(
        f"/{SERVICE}/{rpc}",
        request_serializer=request.SerializeToString,
        response_deserializer=answer.FromString,
    )
    answers = stub(request(**fields), timeout=20)
    return list(answers) if method.server_streaming else answers


def test_reflection_names_the_service():
    assert SERVICE in database.get_services()


def test_health():
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=20)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING, answer


def test_status():
    status = call("GetStatus")
    assert (status.state, status.generation) == ("serving", 1), status
    assert status.fds_limit > status.fds_used > 0, status


def test_listeners():
    names = [each.name for each in call("ListListeners").listeners]
    assert listener in names, names


def test_a_stream():
    pages = call("ListConnections")
    assert all(connection.id for page in pages for connection in page.connections), pages


def test_a_change_and_its_reason():
    by = {"who": "test", "why": "to see"}
    call("StopListener", name=listener, by=by)
    why = call("Why", object=f"listener/{listener}")
    assert "to see" in str(why), why
    call("StartListener", name=listener, by=by)


def test_an_error_has_a_code_and_helps():
    try:
        call("StopListener", name="absent")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        assert listener in error.details(), error.details()
    else:
        raise AssertionError("there is no such listener")


def test_a_drain_to_its_end():
    steps = call("Drain", target={"daemon": True})
    assert steps[-1].remaining == 0, steps
    call("Undrain", target={"daemon": True})
    assert call("GetStatus").state == "serving"


failed = 0
for name, test in list(globals().items()):
    if name.startswith("test_"):
        try:
            test()
            print("ok   ", name)
        except Exception as error:  # every test is run
            failed += 1
            print("FAIL ", name, repr(error))
sys.exit(failed > 0)
