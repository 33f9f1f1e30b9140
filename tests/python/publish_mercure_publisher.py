"""Publishes with mercure-publisher, as its manual does, and prints the id.

    publish_mercure_publisher.py URL KEY DATA TOPIC…

It signs its own token, which has the claim of the 0.x protocol.
"""

import sys

from mercure_publisher import MercureConfig, MercurePublisher

url, key, data, *topics = sys.argv[1:]
config = MercureConfig(hub_url=url, publisher_jwt_key=key, publish_topics=["*"])
with MercurePublisher(config) as publisher:
    print(publisher.publish(topics, data, private=True, id="event-123", type="book.updated", retry=1000))
