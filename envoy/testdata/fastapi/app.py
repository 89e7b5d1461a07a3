"""An ordinary web application, for the tests of the shipped configurations of Envoy."""

import asyncio
import hashlib
import socket

import uvicorn
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import RedirectResponse, Response, StreamingResponse

app = FastAPI()


@app.get("/public/health")
def health():
    return {"status": "ok"}


@app.api_route("/users/echo", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def echo(request: Request):
    size, digest = 0, hashlib.sha256()
    async for chunk in request.stream():
        size += len(chunk)
        digest.update(chunk)
    headers = sum(len(k) + len(v) for k, v in request.headers.raw)
    answer = {"method": request.method, "size": size, "sha256": digest.hexdigest(), "header_bytes": headers,
              "user": request.headers.get("x-warder-user"), "names": sorted(request.headers.keys())}
    return answer


@app.get("/users/redirect")
def redirect():
    return RedirectResponse("/users/echo")


@app.get("/users/large-headers")
def large_headers():
    return Response(headers={f"x-large-{i}": "x" * 4000 for i in range(12)})


@app.get("/users/slow")
async def slow(seconds: float):
    await asyncio.sleep(seconds)
    return {"slow": True}


@app.get("/users/events")
async def events(pause: float, count: int):
    async def lines():
        for i in range(count):
            yield f"data: {i}\n\n"
            await asyncio.sleep(pause)

    return StreamingResponse(lines(), media_type="text/event-stream")


@app.websocket("/users/socket")
async def websocket(ws: WebSocket):
    await ws.accept()
    async for text in ws.iter_text():
        await ws.send_text(f"{ws.headers.get('x-warder-user')}: {text}")


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(app, http="h11", ws="websockets-sansio", log_level="warning", h11_max_incomplete_event_size=1 << 17)
    uvicorn.Server(config).run(sockets=[listening])
