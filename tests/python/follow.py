"""Follows a topic with httpx-sse, as its manual does, and prints each event as a line of JSON.

    follow.py URL TOPIC [TOKEN]

A stream that ends is taken up again where it ended: with the last id in `Last-Event-ID`, after the time the hub asked for.
"""

import json
import sys
import time

import httpx
from httpx_sse import connect_sse

url, topic = sys.argv[1:3]
headers = {"Authorization": f"Bearer {sys.argv[3]}"} if len(sys.argv) > 3 else {}
wait = 0.0
with httpx.Client(timeout=60) as client:
    while True:
        try:
            with connect_sse(client, "GET", url, params={"match": topic}, headers=dict(headers)) as source:
                source.response.raise_for_status()
                seen = source.response.headers
                print(json.dumps({"open": True, "after": seen.get("mercure-last-event-id"), "coding": seen.get("content-encoding")}), flush=True)
                for event in source.iter_sse():
                    print(json.dumps({"type": event.event, "id": event.id, "data": event.data}), flush=True)
                    headers["Last-Event-ID"] = event.id
                    if event.retry is not None:
                        wait = event.retry / 1000
        except httpx.TransportError:
            pass
        time.sleep(wait)
