# One conversation of Debian's python3-paho-mqtt (1.6 or 2) with a server: subscribes, publishes to itself, prints
# what came back, leaves. Usage: paho-client.py HOST PORT VERSION(3|4|5) QOS tcp|websockets COUNT
import sys
import threading

import paho.mqtt.client as mqtt

host, port, version, qos, transport, count = sys.argv[1:7]
port, version, qos, count = int(port), int(version), int(qos), int(count)
topic = f"paho/{version}/{qos}/{transport}"
arrived = []
done = threading.Event()


def on_connect(client, userdata, flags, reason, properties=None):
    client.subscribe(topic, qos)


def on_subscribe(client, userdata, mid, granted, properties=None):
    for number in range(count):
        client.publish(topic, f"message {number}", qos)


def on_message(client, userdata, message):
    arrived.append(f"{message.payload.decode()} at {message.qos}")
    if len(arrived) == count:
        done.set()


api = (mqtt.CallbackAPIVersion.VERSION2,) if hasattr(mqtt, "CallbackAPIVersion") else ()
client = mqtt.Client(*api, client_id=f"paho-{version}-{qos}-{transport}", protocol=version, transport=transport)
if transport == "websockets":
    client.ws_set_options(path="/mqtt")
client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.connect(host, port, 30)
client.loop_start()
if not done.wait(20):
    sys.exit(f"only {len(arrived)} of {count} messages came: {arrived}")
client.disconnect()
client.loop_stop()
print("\n".join(arrived))
