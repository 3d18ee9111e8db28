"""An upstream: says back what it is told, on every port that is named."""

import asyncio
import sys


async def serve(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main(ports):
    servers = [await asyncio.start_server(serve, "127.0.0.1", int(port)) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main(sys.argv[1:]))
