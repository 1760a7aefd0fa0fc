"""Clients for t_edge.py: a fake gateway, HTTP over raw sockets, WebSocket frames.

Python's standard library only.  Everything waits for what it expects, with a
limit; nothing sleeps and hopes.
"""
import base64
import json
import os
import random
import re
import select
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import time
import zlib

LIMIT = 10.0  # seconds that anything may take


class Certificates:
    """Self-signed ones in a directory of their own: made when asked for."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix='penny-tls.')
        self.made = {}

    def get(self, name):
        """The files of certificate and key."""
        files = tuple('%s/%s.%s' % (self.directory, name, kind) for kind in ('crt', 'key'))
        if name not in self.made:
            subprocess.run(['openssl', 'req', '-x509', '-nodes', '-newkey', 'ec', '-pkeyopt',
                            'ec_paramgen_curve:P-256', '-days', '2', '-subj', '/CN=' + name,
                            '-out', files[0], '-keyout', files[1]],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.made[name] = files
        return files

    def remove(self):
        shutil.rmtree(self.directory)


CERTIFICATES = Certificates()


def context(alpn=None):
    """What a client needs for TLS; who the server is does not matter here."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if alpn:
        made.set_alpn_protocols(alpn)
    return made


class Fake:
    """A fake gateway with its edge and executors."""

    tls = None  # the context of its clients, when it speaks TLS

    def __init__(self, program, edge, **settings):
        self.log = []
        self.process = subprocess.Popen(
            [program, edge] + ['%s=%s' % item for item in settings.items()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.set_blocking(self.process.stderr.fileno(), False)
        self.port = int(self.line().split()[1])

    def line(self):
        if not select.select([self.process.stdout], [], [], LIMIT)[0]:
            raise TimeoutError('fake gateway does not answer')
        return self.process.stdout.readline().decode().strip()

    def command(self, text):
        self.process.stdin.write(text.encode() + b'\n')
        self.process.stdin.flush()
        return self.line()

    def use_certificate(self, name):
        """Give the edge this certificate; clients then speak TLS."""
        if self.command('tls %s %s' % CERTIFICATES.get(name)) != 'ok':
            raise AssertionError('no certificate')
        self.tls = self.tls or context()

    def counters(self):
        return {k: int(v) for k, v in
                (pair.split('=') for pair in self.command('counters').split())}

    def executors(self):
        return {k: int(v) for k, v in
                (pair.split('=') for pair in self.command('executors').split())}

    def until(self, check, what='condition', limit=LIMIT):
        """Ask again until check() is true."""
        end = time.monotonic() + limit
        while not check():
            if time.monotonic() > end:
                raise TimeoutError('waited for: ' + what)
            time.sleep(0.01)
        return True

    def idle(self, **more):
        """Until nothing is left of any client."""
        zero = ['connections', 'websockets', 'event_streams', 'rooms', 'members', 'waiting', 'held']
        return self.until(lambda: not any(self.counters()[name] for name in zero),
                          'counters at zero')

    def messages(self):
        """What the edge has logged so far."""
        data = self.process.stderr.read()
        if data:
            self.log += data.decode(errors='replace').splitlines()
        return self.log

    def stop(self):
        self.process.stdin.close()
        self.process.wait(LIMIT)
        self.messages()


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)


class Http:
    """One connection; requests are bytes, answers are parsed."""

    def __init__(self, fake, receive_buffer=None, tls=True, source=None, segment=None):
        self.socket = socket.socket()
        if source:
            self.socket.bind((source, 0))
        if segment:  # small as on a real network, where kernels buffer little
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(LIMIT)
        self.socket.connect(('127.0.0.1', fake.port))
        if fake.tls and tls:
            self.socket = fake.tls.wrap_socket(self.socket)
        self.data = b''

    def send(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode())

    def request(self, target, method='GET', headers='', body=b''):
        length = 'Content-Length: %d\r\n' % len(body) if body else ''
        self.send(('%s %s HTTP/1.1\r\nHost: localhost\r\n%s%s\r\n' %
                   (method, target, length, headers)).encode() + body)

    def more(self):
        data = self.socket.recv(65536)
        self.data += data
        return len(data)

    def answer(self, head=False):
        while b'\r\n\r\n' not in self.data:
            if not self.more():
                raise ConnectionError('closed before an answer')
        text, self.data = self.data.split(b'\r\n\r\n', 1)
        lines = text.decode().split('\r\n')
        headers = {}
        for line in lines[1:]:
            name, value = line.split(': ', 1)
            headers[name.lower()] = value
        length = 0 if head else int(headers.get('content-length', 0))
        while len(self.data) < length:
            if not self.more():
                raise ConnectionError('closed inside an answer')
        body, self.data = self.data[:length], self.data[length:]
        return Answer(int(lines[0].split()[1]), headers, body)

    def get(self, target, **more):
        self.request(target, **more)
        return self.answer(head=more.get('method') == 'HEAD')

    def closed(self):
        """Does the other side close now, without further bytes?"""
        try:
            return self.data == b'' and self.socket.recv(1) == b''
        except ConnectionError:
            return True

    def close(self):
        self.socket.close()


def once(fake, target, **more):
    http = Http(fake)
    answer = http.get(target, **more)
    http.close()
    return answer


class Closed(Exception):
    def __init__(self, code, reason):
        Exception.__init__(self, 'closed with %s %s' % (code, reason))
        self.code = code
        self.reason = reason


class Ws(Http):
    """A WebSocket; frames() gives JSON objects."""

    window_bits = 15  # of what it unpacks
    packed = 0        # messages that came compressed
    wire = 0          # bytes of payloads

    def __init__(self, fake, token='user-1', headers='', query='', receive_buffer=None,
                 host='h:1', deflate=None):
        Http.__init__(self, fake, receive_buffer)
        if deflate is not None:
            headers += 'Sec-WebSocket-Extensions: permessage-deflate%s\r\n' % deflate
        key = base64.b64encode(os.urandom(16)).decode()
        if token:
            headers += 'Authorization: Bearer %s\r\n' % token
        self.send('GET /ws%s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n'
                  'Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
                  'Sec-WebSocket-Key: %s\r\n%s\r\n' % (query, host, key, headers))
        self.handshake = self.answer()
        if self.handshake.status != 101:
            raise ConnectionError('no upgrade: %d' % self.handshake.status)

    def frame(self, opcode, payload, fin=True, mask=True, rsv=0):
        head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
        bit = 0x80 if mask else 0
        if len(payload) < 126:
            head += bytes([bit | len(payload)])
        elif len(payload) < 65536:
            head += bytes([bit | 126]) + struct.pack('>H', len(payload))
        else:
            head += bytes([bit | 127]) + struct.pack('>Q', len(payload))
        if not mask:
            return head + payload
        key = random.randbytes(4)
        pad = key * (len(payload) // 4 + 1)
        masked = (int.from_bytes(payload, 'big') ^
                  int.from_bytes(pad[:len(payload)], 'big')).to_bytes(len(payload), 'big')
        return head + key + masked

    def say_packed(self, text, level=6, fin=True):
        pack = zlib.compressobj(level, zlib.DEFLATED, -15)
        data = pack.compress(text) + pack.flush(zlib.Z_SYNC_FLUSH)
        self.send(self.frame(1, data[:-4], rsv=4, fin=fin))

    def say(self, **members):
        self.send(self.frame(1, json.dumps(members).encode()))

    def raw_frame(self):
        def need(n):
            while len(self.data) < n:
                if not self.more():
                    raise Closed(None, 'without a close frame')
        need(2)
        opcode, length, at = self.data[0] & 15, self.data[1], 2
        packed = self.data[0] & 0x40
        if length == 126:
            need(4)
            length, at = struct.unpack('>H', self.data[2:4])[0], 4
        elif length == 127:
            need(10)
            length, at = struct.unpack('>Q', self.data[2:10])[0], 10
        need(at + length)
        payload, self.data = self.data[at:at + length], self.data[at + length:]
        self.wire += length
        if packed:
            self.packed += 1
            payload = zlib.decompressobj(-self.window_bits).decompress(payload + b'\0\0\xff\xff')
        return opcode, payload

    def hear(self):
        """The next message; pings are answered, a close is raised."""
        while True:
            opcode, payload = self.raw_frame()
            if opcode == 1:
                return json.loads(payload)
            if opcode == 9:
                self.send(self.frame(10, payload))
            elif opcode == 8:
                code = struct.unpack('>H', payload[:2])[0] if payload else 1005
                raise Closed(code, payload[2:].decode())

    def ask(self, **members):
        self.say(**members)
        return self.hear()

    def end(self):
        """The code with which the server closes."""
        try:
            while True:
                self.hear()
        except Closed as closed:
            return closed.code
        except ConnectionError:
            return None

    def join(self, room, **more):
        answer = self.ask(type='join', room=room, **more)
        if answer['type'] != 'joined':
            raise AssertionError(answer)
        return answer
