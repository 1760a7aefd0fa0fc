#!/usr/bin/python3
"""Clients of 080_tls.pl.

    tls_client.py chat <port> <CA file> <token> <room>
    tls_client.py load <port> <token> <stop file>

chat: two members by python3-websockets over wss; a large message reaches both.
load: kept connections and new ones send requests, a WebSocket pings, until the
stop file is there; then one line of JSON says what happened.
"""
import base64
import hashlib
import json
import os
import socket
import ssl
import sys
import threading
import time


async def chat(port, ca, token, room):
    import asyncio
    import websockets
    tls = ssl.create_default_context(cafile=ca)
    url = 'wss://localhost:%s/ws?access_token=%s' % (port, token)
    options = {'ssl': tls, 'subprotocols': ['penny.v1'], 'max_size': None}
    async with websockets.connect(url, **options) as a, websockets.connect(url, **options) as b:
        for ws in (a, b):
            await ws.send(json.dumps({'type': 'join', 'room': room, 'ref': 'j'}))
            assert json.loads(await ws.recv())['type'] == 'joined'
        text = 'z' * 900000
        await a.send(json.dumps({'type': 'message', 'room': room, 'content': text, 'ref': 'm'}))
        await asyncio.sleep(0)
        for ws in (a, b):
            while True:
                frame = json.loads(await asyncio.wait_for(ws.recv(), 20))
                assert frame['type'] in ('message', 'ack', 'event'), frame
                if frame['type'] == 'message':
                    assert frame['message']['content'] == text
                    break
        print('whole', len(text))


class Load:
    def __init__(self, port, token, stop):
        self.port, self.token, self.stop = int(port), token, stop
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE
        self.lock = threading.Lock()
        self.seen = {'requests': 0, 'connections': 0, 'dropped': 0, 'failed': 0}
        self.certificates = set()
        self.told = []

    def count(self, name, what=None):
        with self.lock:
            self.seen[name] += 1
            if what:
                self.told.append(str(what))

    def over(self):
        return os.path.exists(self.stop)

    def connect(self):
        raw = socket.create_connection(('127.0.0.1', self.port), 20)
        connection = self.tls.wrap_socket(raw)
        with self.lock:
            self.certificates.add(hashlib.sha256(connection.getpeercert(True)).hexdigest())
        self.count('connections')
        return connection

    def request(self, connection):
        connection.sendall(('GET /api/v1/conversations HTTP/1.1\r\nHost: localhost\r\n'
                            'Authorization: Bearer %s\r\n\r\n' % self.token).encode())
        data = b''
        while b'\r\n\r\n' not in data:
            more = connection.recv(65536)
            if not more:
                raise ConnectionError('closed')
            data += more
        head, body = data.split(b'\r\n\r\n', 1)
        length = [int(line.split(b':')[1]) for line in head.split(b'\r\n')
                  if line.lower().startswith(b'content-length:')][0]
        while len(body) < length:
            body += connection.recv(65536)
        if not head.startswith(b'HTTP/1.1 200 '):
            raise ValueError(head[:80])
        self.count('requests')

    def keep(self):
        connection = self.connect()
        while not self.over():
            try:
                self.request(connection)
            except Exception as e:
                self.count('dropped', e)
                return

    def renew(self):
        while not self.over():
            try:
                connection = self.connect()
                self.request(connection)
                connection.close()
            except Exception as e:
                self.count('failed', e)

    def websocket(self):
        connection = self.connect()
        key = base64.b64encode(os.urandom(16)).decode()
        connection.sendall(('GET /ws?access_token=%s HTTP/1.1\r\nHost: localhost\r\n'
                            'Upgrade: websocket\r\nConnection: Upgrade\r\n'
                            'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n'
                            % (self.token, key)).encode())
        try:
            if not connection.recv(4096).startswith(b'HTTP/1.1 101 '):
                raise ValueError('no upgrade')
            while not self.over():
                connection.sendall(b'\x89\x84\0\0\0\0ping')
                if connection.recv(6) != b'\x8a\x04ping':
                    raise ConnectionError('no pong')
                time.sleep(0.05)
        except Exception as e:
            self.count('dropped', e)

    def run(self):
        work = [self.keep] * 4 + [self.renew] * 2 + [self.websocket] * 2
        threads = [threading.Thread(target=one) for one in work]
        for thread in threads:
            thread.start()
        print('ready', flush=True)
        for thread in threads:
            thread.join()
        print('\n'.join(self.told[:10]))
        print(json.dumps(dict(self.seen, certificates=len(self.certificates))))


if __name__ == '__main__':
    if sys.argv[1] == 'chat':
        import asyncio
        asyncio.run(chat(*sys.argv[2:]))
    else:
        Load(*sys.argv[2:]).run()
