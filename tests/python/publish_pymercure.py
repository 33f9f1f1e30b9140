"""Publishes with pymercure, as its manual does, and prints the id.

    publish_pymercure.py URL TOKEN DATA TOPIC…
"""

import sys

from pymercure.message import Message
from pymercure.publisher.sync import SyncPublisher

url, token, data, *topics = sys.argv[1:]
publisher = SyncPublisher(url, token)
print(publisher.publish(Message(topics, data, event_type="price")))
