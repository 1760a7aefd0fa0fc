#!/usr/bin/python3
"""penny-edge against a fake gateway: HTTP, limits, faults, WebSocket, rooms.

    t_edge.py <fake_gateway> <penny-edge> [--cached | --sse | --jobs] [name ...]

--cached: the tests of edge_cached.py; --sse: those of edge_sse.py; --jobs: those of edge_jobs.py.

Prints TAP.  Each test has a gateway and an edge of its own; at its end every
client has gone, and the edge must have forgotten them and still live.
"""
import json
import os
import random
import resource
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import traceback

import edge_cached
import edge_jobs
import edge_sse
from edge_client import CERTIFICATES, Closed, Fake, Http, LIMIT, Ws, context, once

TESTS = []
BUDGET = 32  # kB of a client before it signed in; sanitizers take more


def test(tls=False, **settings):
    """A test with these settings; tls: a second time, over TLS."""
    def keep(function):
        TESTS.append((function, settings, False))
        if tls:
            TESTS.append((function, settings, True))
        return function
    return keep


def test_of_tls(**settings):
    def keep(function):
        TESTS.append((function, settings, True))
        return function
    return keep


def equal(got, wanted, what=''):
    if got != wanted:
        raise AssertionError('%s: got %r, wanted %r' % (what, got, wanted))


# ---- HTTP ---------------------------------------------------------------------

@test(tls=True)
def keep_alive(fake):
    http = Http(fake)
    for i in range(200):
        answer = http.get('/echo?n=%d' % i)
        equal((answer.status, answer.json()['target']), (200, '/echo?n=%d' % i))
    http.close()
    fake.until(lambda: fake.counters()['requests'] == 200)
    equal(fake.counters()['accepted'], 1)


@test()
def what_an_executor_gets(fake):
    http = Http(fake)
    http.request('/echo?a=b%20c', method='POST', body=b'{"x":"\xc3\xa9"}',
                 headers='Authorization: Bearer tok.en\r\nX-Request-Id: mine-1\r\n'
                         'X-Other: 1\r\nConnection: keep-alive\r\n')
    answer = http.answer()
    got = answer.json()
    equal(got['method'], 'POST')
    equal(got['target'], '/echo?a=b%20c')
    equal(got['token'], 'tok.en')
    equal(got['body'], '{"x":"\u00e9"}')
    equal(got['request_id'], 'mine-1')
    equal(got['peer'], '127.0.0.1')
    equal(got['flags'], 2)
    assert 'x-other: 1\n' in got['headers'] and 'authorization' not in got['headers']
    equal(answer.headers['x-request-id'], 'mine-1')
    equal(http.get('/echo?access_token=in+query').json()['token'], 'in query')
    made = http.get('/echo', headers='X-Request-Id: <script>\r\n').headers['x-request-id']
    equal(len(made), 32)
    equal(http.get('/echo', headers='Authorization: Basic abc\r\n').status, 401)
    http.close()


@test()
def who_is_local(fake):
    for host, more, flags in (('localhost', '', 2), ('localhost:80', '', 2), ('127.0.0.1:1', '', 2),
                              ('[::1]:3000', '', 2), ('evil.example', '', 0),
                              ('localhost.evil.example', '', 0),
                              ('localhost', 'X-Forwarded-For: 1.2.3.4\r\n', 0)):
        http = Http(fake)
        http.send('GET /echo HTTP/1.1\r\nHost: %s\r\n%s\r\n' % (host, more))
        equal(http.answer().json()['flags'], flags, host + more)
        http.close()


@test(tls=True, executors=4)
def pipelining_is_in_order(fake):
    http = Http(fake)
    text = b''
    for i in range(50):
        target = '/slow?ms=%d' % (20 if i % 10 == 0 else 0) if i % 2 else '/echo?n=%d' % i
        text += ('GET %s HTTP/1.1\r\nHost: h\r\n\r\n' % target).encode()
    http.send(text)
    for i in range(50):
        got = http.answer().json()
        equal(got.get('target', 'slow'), 'slow' if i % 2 else '/echo?n=%d' % i)
    http.close()


@test(executors=1)
def what_is_pipelined_is_bounded(fake):
    http = Http(fake)
    http.request('/slow?ms=3000')
    fake.until(lambda: fake.executors()['calls'] >= 2)
    text = b'GET /livez HTTP/1.1\r\nHost: h\r\n\r\n' * 1000
    sent = 0
    while sent < 64 << 20 and select.select([], [http.socket], [], 0.5)[1]:
        sent += http.socket.send(text, socket.MSG_DONTWAIT)
    assert sent < 32 << 20, sent
    http.close()


@test()
def a_request_byte_by_byte(fake):
    http = Http(fake)
    for byte in b'POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello':
        http.send(bytes([byte]))
    equal(http.answer().json()['body'], 'hello')
    equal(http.get('/echo').status, 200)
    http.close()


@test()
def own_answers(fake):
    http = Http(fake)
    equal(http.get('/livez').json(), {'status': 'ok'})
    equal(http.get('/readyz').status, 200)
    answer = http.get('/nowhere')
    problem = answer.json()
    equal((answer.status, problem['status'], problem['code']), (404, 404, 'PY404'))
    equal(answer.headers['content-type'], 'application/problem+json')
    equal(problem['request_id'], answer.headers['x-request-id'])
    answer = http.get('/echo', method='DELETE')
    equal((answer.status, answer.headers['allow']), (405, 'GET, HEAD, POST'))
    answer = http.get('/livez', method='DELETE')
    equal((answer.status, answer.headers['allow']), (405, 'GET, HEAD'))
    answer = http.get('/bytes?n=9000', method='HEAD')
    equal((answer.status, answer.headers['content-length']), (200, '9000'))
    answer = http.get('/status?n=204')
    equal((answer.status, answer.headers.get('content-length')), (204, None))
    equal(http.get('/status?n=304').status, 304)
    equal(http.get('/status?n=418').status, 418)
    equal(http.get('/status?n=99').status, 503)
    equal(http.get('/ws').status, 426)
    http.close()
    fake.command('flag unready 1')
    equal(once(fake, '/readyz').status, 503)


@test()
def headers_of_a_handler_cannot_split_the_answer(fake):
    http = Http(fake)
    answer = http.get('/headers')
    equal(answer.body, b'hello')
    equal(answer.headers['x-good'], 'yes')
    equal(answer.headers['x-split'], 'a')
    assert 'transfer-encoding' not in answer.headers and 'connection' not in answer.headers
    equal(http.get('/livez').status, 200)
    http.close()


@test()
def expect_continue(fake):
    http = Http(fake)
    http.send('POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n')
    equal(http.answer().status, 100)
    http.send('abc')
    equal(http.answer().json()['body'], 'abc')
    http.send('POST /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n'
              'Expect: 100-continue\r\n\r\n')
    equal(http.answer().status, 404)
    assert http.closed()
    http.close()


@test(header_size=2000, target_size=300, body_size=5000)
def limits_exactly(fake):
    for extra, status in ((-1, 200), (0, 200), (1, 431)):
        head = 'GET /echo HTTP/1.1\r\nHost: h\r\nX: %s\r\n\r\n'
        text = head % ('a' * (2000 - len(head) + 2 + extra))
        http = Http(fake)
        http.send(text)
        equal(http.answer().status, status, 'head %+d' % extra)
        http.close()
        target = '/echo?' + 'a' * (300 - 6 + extra)
        equal(once(fake, target).status, 414 if extra > 0 else 200, 'target %+d' % extra)
        answer = once(fake, '/echo', method='POST', body=b'a' * (5000 + extra))
        equal(answer.status, 413 if extra > 0 else 200, 'body %+d' % extra)


@test()
def malformed_is_refused(fake):
    for text, status in ((b'GARBAGE\r\n\r\n', 400),
                         (b'GET / HTTP/1.1\r\n\r\n', 400),
                         (b'GET /echo HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n', 400),
                         (b'POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n', 501),
                         (b'POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n'
                          b'Transfer-Encoding: chunked\r\n\r\nabc', 400),
                         (b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', None)):
        http = Http(fake)
        http.send(text)
        answer = http.answer()
        assert answer.status == status or status is None and answer.status >= 400, (text, answer.status)
        assert http.closed()
        http.close()
    assert fake.counters()['malformed'] >= 6


@test(header_timeout=300, body_timeout=300, keepalive_timeout=300)
def slow_clients(fake):
    head = Http(fake)
    head.send('GET /echo HTTP/1.1\r\nHo')
    body = Http(fake)
    body.send('POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc')
    silent = Http(fake)
    kept = Http(fake)
    equal(kept.get('/livez').status, 200)
    for http in (head, body):
        equal(http.answer().status, 408)
        assert http.closed()
    assert silent.closed() and kept.closed()
    for http in (head, body, silent, kept):
        http.close()


@test(body_timeout=60000)
def slow_bodies_are_refused(fake):
    """333 bytes a second are too few, 2,000 are not, and 5 seconds are given."""
    def begin(length):
        http = Http(fake)
        http.send('POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n' % length)
        return http
    slow, steady, quick = begin(100000), begin(14000), begin(1000)
    quick.send('x' * 900)
    started = time.monotonic()
    for i in range(70):
        if i % 3 == 0 and not select.select([slow.socket], [], [], 0)[0]:
            slow.send('x' * 100)
            refused_at = time.monotonic() - started
        steady.send('x' * 200)
        time.sleep(max(0, started + (i + 1) * 0.1 - time.monotonic()))
        if i == 45:
            quick.send('x' * 100)
            equal(quick.answer().status, 200, 'slow, but not for 5 seconds')
    equal(steady.answer().status, 200)
    answer = slow.answer()
    equal((answer.status, answer.json()['detail']),
          (408, 'the body of the request comes too slowly'))
    assert slow.closed() and 4.5 < refused_at < 6.5, refused_at
    for http in (slow, steady, quick):
        http.close()


@test(executors=2, write_timeout=1000, min_body_rate=20000)
def slow_readers_are_cut(fake):
    """Who reads 2,000 bytes a second makes progress, but not enough."""
    slow, steady = Http(fake, receive_buffer=4096), Http(fake, receive_buffer=4096)
    for http in (slow, steady):
        http.request('/bytes?n=20000000')
    fake.until(lambda: fake.counters()['connections'] == 2)
    cut = None
    for i in range(50):
        if cut is None:
            slow.socket.recv(200)
        for _ in range(10):
            steady.socket.recv(4096)
        if cut is None and fake.counters()['connections'] == 1:
            cut = i
        time.sleep(0.1)
    assert cut is not None, 'not cut'
    equal(fake.counters()['connections'], 1, 'who reads steadily goes on')
    slow.close()
    steady.close()


def resident(pid):
    """kB of memory that the process has."""
    with open('/proc/%s/status' % pid) as status:
        return next(int(line.split()[1]) for line in status if line.startswith('VmRSS'))


def pour(fake, what, make):
    """A thousand clients; what each costs in kB of the edge's memory."""
    pid = fake.command('pid')
    before = resident(pid)
    clients = [make() for _ in range(1000)]
    for http in clients:
        http.socket.setblocking(False)
        http.left = what
    for http in clients + clients:  # the socket may not take it all at first
        try:
            http.left = http.left[http.socket.send(http.left):] if http.left else b''
        except (BlockingIOError, ConnectionError):
            pass
    size, last = resident(pid), 0
    while size != last:
        time.sleep(0.3)
        equal(once(fake, '/livez').status, 200, 'it has seen to what came before')
        size, last = resident(pid), size
    for http in clients:
        http.close()
    print('# %.1f kB a client' % ((size - before) / 1000))
    return (size - before) / 1000


@test(max_connections=2000, max_connections_per_address=2000)
def memory_of_half_heads(fake):
    equal(once(fake, '/echo').status, 200)
    head = b'GET /echo HTTP/1.1\r\nHost: h\r\nX: ' + b'a' * 16200
    cost = pour(fake, head[:16000], lambda: Http(fake))
    equal(cost <= BUDGET, True, cost)


@test(max_connections=2000, max_connections_per_address=2000)
def memory_of_heads_that_are_too_large(fake):
    equal(once(fake, '/echo').status, 200)
    cost = pour(fake, b'GET /echo HTTP/1.1\r\nHost: h\r\nX: ' + b'a' * 60000, lambda: Http(fake))
    equal(cost <= BUDGET, True, cost)


@test(max_connections=2000, max_connections_per_address=2000, queue_size=2000)
def memory_of_bodies_before_signing_in(fake):
    """Nobody says who they are, so nothing beyond the first read is taken."""
    equal(once(fake, '/echo').status, 200)
    fake.command('stop')
    head = b'PUT /echo/1 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer bad\r\nX: ' + b'a' * 15000
    body = head + b'\r\nContent-Length: 1048576\r\n\r\n' + b'x' * 200000
    cost = pour(fake, body, lambda: Http(fake))
    equal(cost <= BUDGET, True, cost)
    fake.command('go')


@test(max_connections=2000, max_connections_per_address=2000)
def memory_of_websockets_before_signing_in(fake):
    equal(once(fake, '/echo').status, 200)
    frame = Ws.frame(None, 1, b'x' * 16384)
    cost = pour(fake, frame[:16380], lambda: Ws(fake, token=None))
    equal(cost <= BUDGET, True, cost)


@test(max_connections=2000, max_connections_per_address=2000, queue_size=2000)
def memory_of_websockets_that_wait_for_their_token(fake):
    equal(once(fake, '/echo').status, 200)
    fake.command('stop')
    cost = pour(fake, Ws.frame(None, 1, b'x' * 200000), lambda: Ws(fake))
    equal(cost <= BUDGET, True, cost)
    fake.command('go')


@test()
def large_bodies_are_read_once_the_client_signed_in(fake):
    http = Http(fake)
    calls = fake.executors()['calls']
    for size, more in ((1000, 1), (20000, 1), (500000, 2)):
        http.request('/echo/1', method='PUT', body=b'x' * size, headers='Authorization: Bearer good\r\n')
        answer = http.answer()
        equal((answer.status, len(answer.json()['body'])), (200, size))
        before, calls = calls, fake.executors()['calls']
        assert calls - before >= more, 'a call for the token, when the body is large'
    http.send('PUT /echo/1 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer bad\r\n'
              'Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n')
    answer = http.answer()
    equal((answer.status, answer.headers['connection']), (401, 'close'))
    assert http.closed()
    http.close()
    http = Http(fake)
    http.send('GET /livez HTTP/1.1\r\nHost: h\r\nContent-Length: 1025\r\n\r\n')
    equal(http.answer().status, 413, 'a body of no use')
    http.close()


@test(header_timeout=2000)
def the_first_head_has_its_time_from_the_accept(fake):
    http = Http(fake)
    started = time.monotonic()
    time.sleep(1.5)
    http.send('GET /')
    equal(http.answer().status, 408)
    assert time.monotonic() - started < 3.4
    http.close()


def hold_bodies(fake, count):
    """So many clients that send nearly a megabyte each and stop; without a token."""
    clients = []
    part = b'POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n' + b'x' * 1048570
    for _ in range(count):
        http = Http(fake)
        clients.append(http)
        try:
            http.send(part)
        except ConnectionError:
            pass  # refused before it was all sent
    return clients


@test(max_connections=2000, max_connections_per_address=2000, body_timeout=60000)
def bodies_of_strangers_do_not_take_all_memory(fake):
    equal(once(fake, '/livez').status, 200)
    pid = fake.command('pid')
    clients = hold_bodies(fake, 1100)
    with open('/proc/%s/status' % pid) as status:
        size = next(int(line.split()[1]) for line in status if line.startswith('VmRSS'))
    assert size < 700000, '%d kB' % size
    equal(once(fake, '/echo').status, 200, 'small requests go on')
    halves = Http(fake)
    halves.send('GET /echo HTTP/1.1\r\nHo')
    time.sleep(0.1)
    halves.send('st: h\r\n\r\n')
    equal(halves.answer().status, 200, 'also in two pieces')
    halves.close()
    fake.until(lambda: fake.counters()['connections'] < 700, 'some are cut')
    equal(len([line for line in fake.messages() if 'sent too much' in line]), 1, 'told once')
    for http in clients:
        http.close()
    fake.idle()
    equal(fake.command('pid'), pid)
    http = Http(fake)
    http.request('/echo', method='POST', body=b'x' * 1000000)
    equal(http.answer().status, 200, 'memory was given back')
    http.close()


@test(origins='https://app.example.com')
def a_foreign_page_is_not_of_this_machine(fake):
    for origin, flags in (('http://localhost', 2), ('https://app.example.com', 2),
                          ('http://example.com', 0), ('null', 0)):
        got = once(fake, '/echo', headers='Origin: %s\r\n' % origin).json()
        equal(got['flags'], flags, origin)


@test(tls=True)
def half_requests(fake):
    for text in ('', 'G', 'GET /echo HTTP/1.1\r\n', 'GET /echo HTTP/1.1\r\nHost: h\r\n\r\n',
                 'POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc'):
        for _ in range(20):
            http = Http(fake)
            http.send(text)
            http.close()
    fake.idle()
    equal(once(fake, '/livez').status, 200)


def full(fake, status):
    """Ten connections are all there may be; the next is told so."""
    kept = [Http(fake) for _ in range(10)]
    fake.until(lambda: fake.counters()['connections'] == 10)
    refused = Http(fake)
    answer = refused.answer()
    equal((answer.status, answer.json()['code']), (status, 'PY%d' % status))
    assert refused.closed()
    refused.close()
    kept.pop().close()
    fake.until(lambda: fake.counters()['connections'] == 9)
    equal(once(fake, '/livez').status, 200)
    equal(fake.counters()['refused'], 1)
    for http in kept:
        http.close()


@test(max_connections=20, max_connections_per_address=10)
def connections_of_an_address(fake):
    full(fake, 429)


@test(max_connections=10, max_connections_per_address=20)
def connections_in_all(fake):
    full(fake, 503)


def cpu_seconds(pid):
    with open('/proc/%d/stat' % pid) as stat:
        fields = stat.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


@test()
def descriptors_run_out(fake):
    pid = int(fake.command('pid'))
    first = Http(fake)
    equal(first.get('/livez').status, 200)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (24, 24))  # some of them are taken
    clients = [Http(fake) for _ in range(60)]
    for http in clients:
        http.request('/livez')
    fake.until(lambda: any('accepting pauses' in line for line in fake.messages()))
    before = cpu_seconds(pid)
    served = 0
    while clients:
        ready = select.select([http.socket for http in clients], [], [], LIMIT)[0]
        assert ready, 'nobody is served any more'
        for http in [h for h in clients if h.socket in ready]:
            equal(http.answer().status, 200)
            served += 1
            http.close()
            clients.remove(http)
    assert cpu_seconds(pid) - before < 0.3, 'no spinning'
    equal(served, 60)
    first.close()


@test()
def running_out_is_told_once(fake):
    equal(once(fake, '/livez').status, 200)
    pid = int(fake.command('pid'))
    limit = 64  # above what the edge has open; its /proc/…/fd is closed to us
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))
    clients = [Http(fake) for _ in range(limit)]
    time.sleep(1.5)
    equal(len([line for line in fake.messages() if 'accepting pauses' in line]), 1)
    for http in clients:
        http.close()


@test()
def settings_take_effect_without_a_restart(fake):
    equal(once(fake, '/echo', method='POST', body=b'a' * 2000).status, 200)
    fake.command('set body_size 1000')
    fake.until(lambda: once(fake, '/echo', method='POST', body=b'a' * 2000).status == 413)


# ---- calls -----------------------------------------------------------------------

@test(response_size=65536)
def answers_in_pieces(fake):
    http = Http(fake)
    for n in (0, 1, 9000, 65535, 65536, 65537, 131072, 1000003, 20000000):
        body = http.get('/bytes?n=%d' % n).body
        equal(len(body), n)
        assert body == (b'abcdefghijklmnopqrstuvwxyz' * (n // 26 + 1))[:n]
    http.request('/broken')
    try:
        http.answer()
        raise AssertionError('a broken answer looks whole')
    except ConnectionError:
        pass
    http.close()
    head = Http(fake)
    answer = head.get('/bytes?n=1000000', method='HEAD')
    equal((answer.status, answer.headers['content-length']), (200, '1000000'))
    equal(head.get('/livez').status, 200)
    head.close()


@test(tls=True, executors=2, slots=4)
def a_slow_reader_does_not_stop_others(fake):
    slow = Http(fake, receive_buffer=4096)
    slow.request('/bytes?n=30000000')
    fake.until(lambda: fake.executors()['calls'] >= 2)
    for _ in range(20):
        equal(once(fake, '/bytes?n=100000').status, 200)
    slow.close()
    fake.until(lambda: fake.executors()['cancelled'] >= 1, 'the answer is given up')


@test(tls=True, executors=1, write_timeout=400)
def who_reads_nothing_is_cut(fake):
    http = Http(fake, receive_buffer=4096)
    http.request('/bytes?n=30000000')
    fake.until(lambda: fake.counters()['connections'] == 1)
    fake.until(lambda: fake.counters()['connections'] == 0, 'cut')
    http.close()
    fake.until(lambda: once(fake, '/echo').status == 200)


@test(executors=1, slots=2, queue_size=3)
def queue_and_refusal(fake):
    equal(once(fake, '/echo').status, 200)
    fake.command('stop')
    clients = [Http(fake) for _ in range(5)]
    for number, http in enumerate(clients):
        http.request('/echo?n=%d' % number)
        fake.until(lambda: fake.counters()['calls'] + fake.counters()['waiting'] >= 3 + number)
    equal(fake.counters()['waiting'], 3)
    answer = once(fake, '/echo')
    equal((answer.status, answer.json()['code']), (503, 'PY503'))
    assert int(answer.headers['retry-after']) >= 1
    fake.command('go')
    for number, http in enumerate(clients):
        equal(http.answer().json()['target'], '/echo?n=%d' % number)
        http.close()


@test(executors=1, slots=2, acquire_timeout=300)
def nobody_takes_the_call(fake):
    equal(once(fake, '/echo').status, 200)
    fake.command('stop')
    clients = [Http(fake) for _ in range(4)]
    for http in clients:
        http.request('/echo')
    for http in clients:
        equal(http.answer().status, 503)
        http.close()
    started = time.monotonic()
    equal(once(fake, '/livez').status, 200)
    equal(once(fake, '/readyz').status, 503)
    assert time.monotonic() - started < 8
    fake.command('go')
    fake.until(lambda: once(fake, '/echo').status == 200)


@test(tls=True, executors=1)
def a_client_that_goes_cancels(fake):
    http = Http(fake)
    http.request('/slow?ms=8000')
    fake.until(lambda: fake.executors()['calls'] >= 2)
    http.close()
    fake.until(lambda: fake.executors()['cancelled'] == 1, 'cancel', 6)
    equal(once(fake, '/echo').status, 200)


@test(executors=1)
def a_client_that_goes_unread_cancels(fake):
    equal(once(fake, '/echo').status, 200)
    http = Http(fake)
    http.send(b'GET /slow?ms=8000 HTTP/1.1\r\nHost: h\r\n\r\n' +
              b'GET /livez HTTP/1.1\r\nHost: h\r\n\r\n' * 2000)
    time.sleep(0.3)
    http.close()
    fake.until(lambda: fake.executors()['cancelled'] == 1, 'cancel', 6)


@test(executors=1, acquire_timeout=400)
def a_running_call_has_no_acquire_timeout(fake):
    equal(once(fake, '/slow?ms=1200').status, 200)


@test()
def routes_change_without_a_pause(fake):
    equal(once(fake, '/extra').status, 404)
    fake.command('flag extra 1')
    fake.until(lambda: once(fake, '/extra').status == 200)
    fake.command('flag extra 0')
    fake.until(lambda: once(fake, '/extra').status == 404)


@test(executors=1)
def requests_wait_for_the_first_routes(fake):
    fake.command('stop')
    fake.command('kill')
    http = Http(fake)
    http.request('/echo?early=1', method='POST', body=b'abc')
    fake.until(lambda: fake.counters()['connections'] == 1)
    equal(once(fake, '/livez').status, 200)
    fake.command('go')
    equal(http.answer().json()['body'], 'abc')
    http.close()


@test()
def executors_refuse_everything(fake):
    ws = Ws(fake)
    ws.join('conversation:1')
    http = Http(fake)
    equal(http.get('/echo').status, 200)
    fake.command('flag refuse 1')
    try:
        ws.hear()
    except Closed as closed:
        equal(closed.code, 1012)
        assert json.loads(closed.reason)['retry_after_ms'] > 0
    fake.until(lambda: http.get('/echo').status == 503)
    equal(http.get('/echo').json()['detail'], 'as scripted')
    equal(http.get('/livez').status, 200)
    fake.command('kill')
    equal(once(fake, '/echo').status, 503, 'and nobody waits for routes')
    fake.command('flag refuse 0')
    fake.until(lambda: once(fake, '/echo').status == 200)
    http.close()
    ws.close()


@test(executors=3, slots=3)
def kill_and_restart(fake):
    for _ in range(10):
        running = Http(fake)
        running.request('/slow?ms=100')
        http = Http(fake)
        equal(http.get('/livez').status, 200)
        fake.command('kill')
        assert http.closed() and running.closed()
        http.close()
        running.close()
        equal(once(fake, '/echo').status, 200)


@test()
def a_restart_finds_the_sleep_word_right(fake):
    for _ in range(5):
        fake.command('kill')
        for _ in range(3):
            started = time.monotonic()
            equal(once(fake, '/echo').status, 200)
            assert time.monotonic() - started < 1


@test(tls=True, executors=1, drain_timeout=5000)
def drain_acknowledges_first(fake):
    ws = Ws(fake)
    equal(ws.ask(type='ping'), {'type': 'pong'})
    slow = Http(fake)
    slow.request('/slow?ms=600')
    fake.until(lambda: fake.executors()['calls'] >= 3)
    ws.say(type='message', room='conversation:1', content='x', ref=1)
    fake.until(lambda: fake.counters()['calls'] >= 4)
    fake.process.stdin.write(b'term\n')
    fake.process.stdin.flush()
    equal(ws.hear()['type'], 'ack')
    equal(ws.end(), 1001)
    equal(slow.answer().status, 200)
    slow.close()
    ws.close()
    equal(fake.line(), '0', 'exit status')
    fake.command('start')


@test(tls=True, executors=2, drain_timeout=8000)
def drain(fake):
    idle = Http(fake)
    equal(idle.get('/livez').status, 200)
    running = Http(fake)
    running.request('/slow?ms=1500')
    ws = Ws(fake)
    ws.join('conversation:1')
    fake.until(lambda: fake.executors()['calls'] >= 4)
    started = time.monotonic()
    fake.process.stdin.write(b'term\n')
    fake.process.stdin.flush()
    try:
        ws.hear()
    except Closed as closed:
        equal(closed.code, 1001)
        assert json.loads(closed.reason)['retry_after_ms'] > 0
    assert idle.closed()
    answer = running.answer()
    equal((answer.status, answer.headers['connection']), (200, 'close'))
    for http in (idle, running, ws):
        http.close()
    equal(fake.line(), '0', 'exit status')
    assert time.monotonic() - started < 8
    fake.command('start')


@test(executors=1, drain_timeout=1000)
def when_time_is_over(fake):
    """Who cannot be answered is told so, and the edge ends in time."""
    equal(once(fake, '/echo').status, 200)
    fake.command('stop')
    waiting = Http(fake)
    waiting.request('/echo')
    half = Http(fake)
    half.send('POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc')
    ws = Ws(fake)
    ws.say(type='join', room='conversation:1')
    fake.until(lambda: fake.counters()['calls'] >= 4)
    started = time.monotonic()
    fake.process.stdin.write(b'term\n')
    fake.process.stdin.flush()
    for http in (waiting, half):
        answer = http.answer()
        equal((answer.status, answer.headers['connection']), (503, 'close'))
        assert int(answer.headers['retry-after']) >= 1
        assert time.monotonic() - started > 0.9, 'it was given its time'
    equal(ws.end(), 1001)
    equal(fake.line(), '0', 'exit status')
    assert time.monotonic() - started < 6
    for http in (waiting, half, ws):
        http.close()
    fake.command('go')
    fake.command('start')


@test(drain_timeout=5000)
def who_does_not_say_goodbye_is_not_waited_for(fake):
    clients = [Ws(fake) for _ in range(20)]
    equal(clients[0].ask(type='ping'), {'type': 'pong'})
    started = time.monotonic()
    equal(fake.command('restart'), '0', 'exit status')
    assert time.monotonic() - started < 4.5
    for ws in clients:
        equal(ws.end(), 1012)
        ws.close()
    fake.command('start')


# ---- TLS ---------------------------------------------------------------------------

def in_pieces(fake, size):
    """A client whose bytes come in pieces of so many: handshake, then a request."""
    raw = Http(fake, tls=False)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context().wrap_bio(incoming, outgoing)

    def send():
        data = outgoing.read()
        for at in range(0, len(data), size):
            raw.send(data[at:at + size])
            time.sleep(0)

    def until_done(step):
        while True:
            try:
                done = step()
                send()
                return done
            except ssl.SSLWantReadError:
                send()
                incoming.write(raw.socket.recv(65536))
    raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    until_done(tls.do_handshake)
    tls.write(b'GET /bytes?n=70000 HTTP/1.1\r\nHost: h\r\n\r\n')
    send()
    got = b''
    while len(got) < 70000:
        got += until_done(lambda: tls.read(65536))
    assert got.startswith(b'HTTP/1.1 200 '), got[:80]
    raw.close()


@test_of_tls()
def records_in_pieces(fake):
    for size in (1, 2, 7, 300):
        in_pieces(fake, size)


@test_of_tls()
def large_bodies_both_ways(fake):
    http = Http(fake)
    body = json.dumps({'x': 'y' * 1000000}).encode()
    for _ in range(3):
        http.request('/echo', method='POST', body=body)
        equal(http.answer().json()['body'], body.decode())
        equal(len(http.get('/bytes?n=5000000').body), 5000000)
    http.close()


@test_of_tls(header_timeout=300)
def what_is_no_tls(fake):
    plain = Http(fake, tls=False)
    plain.request('/livez')
    answer = plain.answer()
    equal((answer.status, answer.json()['detail']), (400, 'this port speaks TLS'))
    assert plain.closed()
    plain.close()
    for first in (b'\x00' * 20, b'\x80\x2e\x01\x03\x01' + b'x' * 40,  # SSL 2
                  b'\x16\x03\x01\x00\x03\x01\x00\x00\x00',           # a record without its head
                  b'\x16\x03\x01\x40\x01\x01\x00\x40\x00',           # too large a record
                  b'\x16\x03\x01\x40\x00\x01\x01\x00\x00',           # too large a hello
                  b'\x15\x03\x01\x00\x02\x02\x28' + b'x' * 9):        # an alert
        raw = Http(fake, tls=False)
        raw.send(first)
        assert raw.closed(), first
        raw.close()
    malformed = fake.counters()['malformed']
    assert malformed >= 7, malformed
    hello = Http(fake, tls=False)  # a good head, then bytes that are no hello
    hello.send(b'\x16\x03\x01\x00\xc8\x01\x00\x00\xc4' + b'\xff' * 196)
    equal(hello.socket.recv(5)[0], 21, 'an alert')
    hello.close()
    for start in (b'', b'\x16', b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'):
        late = Http(fake, tls=False)
        late.send(start)
        started = time.monotonic()
        assert late.closed(), start
        assert 0.2 < time.monotonic() - started < 2
        late.close()


@test_of_tls(max_connections_per_address=5)
def too_many_are_told_in_tls(fake):
    clients = [Http(fake) for _ in range(5)]
    equal(clients[0].get('/livez').status, 200)
    raw = Http(fake, tls=False)
    equal(raw.socket.recv(20)[:1], b'\x15', 'an alert')
    assert raw.closed()
    for http in clients + [raw]:
        http.close()


@test_of_tls()
def other_certificates_drop_nothing(fake):
    old = Http(fake)
    ws = Ws(fake)
    before = old.socket.getpeercert(True)
    for round in range(20):
        fake.use_certificate('b' if round % 2 == 0 else 'a')
        new = Http(fake)
        assert (new.socket.getpeercert(True) == before) == (round % 2 == 1)
        equal(new.get('/livez').status, 200)
        equal(old.get('/echo').status, 200)
        equal(ws.ask(type='ping'), {'type': 'pong'})
        new.close()
    # One that does not fit its key is refused; what was there goes on.
    equal(fake.command('tls %s %s' % (CERTIFICATES.get('a')[0], CERTIFICATES.get('b')[1])), 'ok')
    equal(once(fake, '/livez').status, 200)
    equal(fake.command('tls - -'), 'ok')
    plain = Http(fake, tls=False)
    equal(plain.get('/livez').status, 200, 'plain HTTP again')
    equal(old.get('/echo').status, 200, 'and who has TLS keeps it')
    fake.use_certificate('a')
    for http in (old, ws, plain):
        http.close()
    fake.command('kill')
    equal(once(fake, '/livez').status, 200, 'the next edge has it, too')


@test()
def an_edge_that_starts_with_a_bad_certificate_ends(fake):
    equal(once(fake, '/livez').status, 200)
    equal(fake.command('tls %s %s' % (CERTIFICATES.get('a')[0], CERTIFICATES.get('b')[1])), 'ok')
    equal(once(fake, '/livez').status, 200, 'one that runs goes on')
    fake.command('term')
    fake.command('start')
    http = Http(fake)
    http.request('/livez')
    equal(fake.command('reap'), '2', 'exit status: no plain HTTP in its place')
    fake.command('tls - -')
    fake.command('start')
    equal(http.answer().status, 200)
    http.close()


@test_of_tls(executors=2)
def hostile_tls(fake):
    """Handshakes and records cut, mixed and repeated."""
    rng = random.Random(7)
    pid = fake.command('pid')
    for count in range(400):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context(['http/1.1']).wrap_bio(incoming, outgoing)
        raw = Http(fake, tls=False)
        raw.socket.settimeout(0.05)
        steps = rng.randrange(4)
        try:
            for step in range(4):
                try:
                    if step < 3:
                        tls.do_handshake()
                    tls.write(b'GET /livez HTTP/1.1\r\nHost: h\r\n\r\n' * 3)
                except ssl.SSLWantReadError:
                    pass
                data = outgoing.read()
                raw.send(mutate(rng, data) if step >= steps else data)
                if step < 3 and step <= steps:
                    incoming.write(raw.socket.recv(65536))
        except OSError:
            pass
        raw.close()
        if count % 100 == 0:
            equal(once(fake, '/livez').status, 200, 'still serving')
    fake.idle()
    equal(fake.command('pid'), pid)


# ---- WebSocket ---------------------------------------------------------------------

@test()
def handshake(fake):
    ws = Ws(fake, headers='Sec-WebSocket-Protocol: other, penny.v1\r\n')
    equal(ws.handshake.headers['sec-websocket-protocol'], 'penny.v1')
    equal(ws.ask(type='ping', ref=7), {'type': 'pong', 'ref': 7})
    ws.close()
    ws = Ws(fake)
    assert 'sec-websocket-protocol' not in ws.handshake.headers
    ws.close()


@test(origins='https://app.example.com')
def origin(fake):
    for value, code in (('http://h:1', None), ('https://app.example.com', None),
                        ('https://evil.example.com', 4403), ('null', 4403), ('http://h', 4403)):
        ws = Ws(fake, headers='Origin: %s\r\n' % value)
        if code is None:
            equal(ws.ask(type='ping'), {'type': 'pong'}, value)
        else:
            equal(ws.end(), code, value)
        ws.close()


@test(auth_timeout=500)
def signing_in(fake):
    ws = Ws(fake, token=None, query='?access_token=user-2')
    equal(ws.ask(type='ping'), {'type': 'pong'})
    ws.close()
    ws = Ws(fake, token=None)
    equal(ws.ask(type='auth', token='user-3', ref='r'), {'type': 'ack', 'ref': 'r'})
    equal(ws.ask(type='ping'), {'type': 'pong'})
    equal(ws.ask(type='auth', token='user-3', ref=2)['type'], 'ack')
    ws.say(type='auth', token='user-4')
    equal(ws.end(), 4401, 'another user')
    ws.close()
    for ws in (Ws(fake, token='bad'), Ws(fake, token=None, query='?access_token=bad'), Ws(fake, token=None)):
        equal(ws.end(), 4401)
        ws.close()
    for host in ('h:1', 'localhost:1'):
        ws = Ws(fake, token=None, host=host)
        ws.say(type='ping')
        equal(ws.end(), 4401, 'before signing in')
        ws.close()
    ws = Ws(fake, token=None, host='127.0.0.1')
    equal(ws.ask(type='auth', token='user-3', ref=1)['type'], 'ack')
    ws.close()
    ws = Ws(fake, token='short')
    equal(ws.ask(type='ping'), {'type': 'pong'})
    started = time.monotonic()
    equal(ws.end(), 4401, 'the token ends')
    assert 0.5 < time.monotonic() - started < 3.5
    ws.close()


@test()
def rooms(fake):
    a = Ws(fake, token='user-a')
    b = Ws(fake, token='user-b')
    room = 'conversation:1'
    joined = a.join(room, ref='x')
    equal((joined['ref'], joined['room'], joined['recovered']), ('x', room, False))
    equal(joined['position'], {'epoch': 'e0', 'version': 0})
    b.join(room)
    ack = None
    frame = None
    a.say(type='message', room=room, content='hi', ref=5)
    for _ in range(2):
        got = a.hear()
        if got['type'] == 'ack':
            ack = got
        else:
            frame = got
    equal(ack, {'type': 'ack', 'ref': 5, 'id': 'm-1', 'seq': 1, 'version': 1})
    equal((frame['version'], frame['message']['content']), (1, 'hi'))
    equal(b.hear(), frame)
    a.say(type='signal', room=room, event={'typing': True})
    got = b.hear()
    equal((got['type'], got['room'], got['event']), ('event', room, {'typing': True}))
    equal(len(got['user_id']), 36)
    equal(a.ask(type='ping'), {'type': 'pong'}, 'not to the sender')
    equal(b.ask(type='leave', room=room, ref=1), {'type': 'left', 'ref': 1, 'room': room})
    fake.command('commit %s "two"' % room)
    equal(a.hear()['version'], 2)
    equal(b.ask(type='ping'), {'type': 'pong'}, 'not to who left')
    equal(b.ask(type='signal', room=room, event={})['code'], 'PY403')
    back = b.join(room, since={'epoch': 'e0', 'version': 0})
    equal((back['recovered'], back['position']['version']), (True, 2))
    equal([b.hear()['version'], b.hear()['version']], [1, 2])
    equal(a.ask(type='join', room='forbidden:1', ref=9),
          {'type': 'error', 'ref': 9, 'room': 'forbidden:1', 'code': 'PY404',
           'title': 'Not Found', 'detail': 'as scripted'})
    equal(a.ask(type='message', room=room, ref=10)['code'], 'PY422')
    a.close()
    b.close()


@test()
def an_upgrade_after_much_pipelining_is_read(fake):
    count = 3000
    http = Ws.__new__(Ws)
    Http.__init__(http, fake)
    http.send(b'GET /slow?ms=500 HTTP/1.1\r\nHost: h\r\n\r\n' +
              b'GET /livez HTTP/1.1\r\nHost: h\r\n\r\n' * count +
              b'GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
              b'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
              b'Authorization: Bearer user-1\r\n\r\n')
    for _ in range(count + 1):
        equal(http.answer().status, 200)
    equal(http.answer().status, 101)
    equal(http.ask(type='ping')['type'], 'pong')
    http.close()


@test()
def a_bad_since_leaves_the_member_where_it_is(fake):
    ws = Ws(fake)
    ws.join('r1')
    since = {'epoch': 'x' * 300, 'version': 1}
    equal(ws.ask(type='join', room='r1', since=since)['code'], 'PY400')
    fake.command('commit r1 {"n":1}')
    equal(ws.hear()['version'], 1)
    ws.close()


@test()
def signals_are_small(fake):
    sender, other = Ws(fake), Ws(fake, token='user-2')
    sender.join('r1')
    other.join('r1')
    answer = sender.ask(type='signal', room='r1', ref=7, event={'text': 'x' * 17000})
    equal((answer['type'], answer['ref'], answer['code']), ('error', 7, 'PY413'))
    sender.say(type='signal', room='r1', event={'text': 'x' * 16000})
    equal(len(other.hear()['event']['text']), 16000)
    sender.close()
    other.close()


@test()
def bad_messages(fake):
    for payload, code in ((b'{', 4400), (b'[]', 4400), (b'{"type":1}', 4400), (b'{}', 4400),
                          (b'{"type":"ping","a":"\xff"}', 1007)):
        ws = Ws(fake)
        ws.send(ws.frame(1, payload))
        equal(ws.end(), code, payload)
        ws.close()
    for build, code in ((lambda ws: ws.frame(2, b"{}"), 4400),
                        (lambda ws: ws.frame(1, b'{}', mask=False), 1002),
                        (lambda ws: ws.frame(1, b'{}', rsv=4), 1002),
                        (lambda ws: ws.frame(3, b'{}'), 1002),
                        (lambda ws: ws.frame(0, b'{}'), 1002),
                        (lambda ws: ws.frame(8, b'\x03\xe8bye'), 1000)):
        ws = Ws(fake)
        ws.send(build(ws))
        equal(ws.end(), code)
        ws.close()
    ws = Ws(fake)
    for message in ({'type': 'nonsense'}, {'type': 'join'}, {'type': 'join', 'room': 'x' * 200},
                    {'type': 'join', 'room': ''}, {'type': 'join', 'room': 'a', 'since': 1},
                    {'type': 'signal', 'room': 'a'}, {'type': 'auth'}, {'type': 'ping', 'ref': []}):
        answer = ws.ask(**message)
        equal((answer['type'], answer['code']), ('error', 'PY400'), message)
    equal(ws.ask(type='ping', ref=None), {'type': 'pong'}, 'the socket goes on')
    ws.close()


@test()
def somebody_unknown_may_send_little(fake):
    text = b'{"type":"ping","pad":"%s"}' % (b'a' * 17000)
    ws = Ws(fake, token=None)
    ws.send(ws.frame(1, text))
    equal(ws.end(), 4413)
    ws.close()
    ws = Ws(fake, token='user-1')
    ws.send(ws.frame(1, text))
    equal(ws.hear(), {'type': 'pong'})
    ws.send(ws.frame(1, b'', fin=False) + ws.frame(0, b''))
    equal(ws.end(), 4400, 'nothing in two pieces')
    ws.close()


@test()
def fragments_and_control_frames(fake):
    ws = Ws(fake)
    ws.send(ws.frame(1, b'{"type":', fin=False) + ws.frame(9, b'hello') +
            ws.frame(0, b'"ping",', fin=False) + ws.frame(0, b'"ref":3}'))
    equal(ws.raw_frame(), (10, b'hello'))
    equal(ws.hear(), {'type': 'pong', 'ref': 3})
    for byte in ws.frame(1, b'{"type":"ping","ref":4}'):
        ws.send(bytes([byte]))
    equal(ws.hear(), {'type': 'pong', 'ref': 4})
    ws.close()


@test(websocket_message_size=10000, websocket_messages=20)
def websocket_limits(fake):
    for extra in (-1, 0, 1):
        ws = Ws(fake)
        text = b'{"type":"ping","pad":"%s"}'
        ws.send(ws.frame(1, text % (b'a' * (10000 + extra - len(text) + 2))))
        if extra > 0:
            equal(ws.end(), 4413)
        else:
            equal(ws.hear(), {'type': 'pong'})
        ws.close()
    ws = Ws(fake)
    for _ in range(60):
        ws.say(type='ping')
    equal(ws.end(), 4429)
    ws.close()


@test(rooms_per_connection=3)
def rooms_of_one_socket(fake):
    ws = Ws(fake)
    for i in range(3):
        ws.join('conversation:%d' % i)
    equal(ws.ask(type='join', room='conversation:4')['code'], 'PY429')
    ws.join('conversation:1')
    equal(fake.counters()['members'], 3)
    ws.close()


@test(heartbeat_interval=300)
def heartbeat(fake):
    alive = Ws(fake)
    silent = Ws(fake)
    started = time.monotonic()
    while time.monotonic() - started < 1.5:
        opcode, payload = alive.raw_frame()
        equal(opcode, 9)
        alive.send(alive.frame(10, payload))
    equal([silent.raw_frame()[0], silent.end()], [9, 4408])
    equal(alive.ask(type='ping'), {'type': 'pong'})
    alive.close()
    silent.close()


@test(executors=4)
def messages_of_one_socket_are_in_order(fake):
    ws = Ws(fake)
    for i in range(300):
        ws.say(type='message', room='conversation:1', content='n%d' % i, ref=i)
    for i in range(300):
        ack = ws.hear()
        equal((ack['type'], ack['ref'], ack['version']), ('ack', i, i + 1))
    ws.close()


@test(executors=2)
def many_members_and_rooms(fake):
    room = 'conversation:big'
    members = [Ws(fake, token='user-%d' % i) for i in range(100)]
    for ws in members:
        ws.say(type='join', room=room)
        for k in range(20):
            ws.say(type='join', room='conversation:%d' % k)
    for ws in members:
        equal(sorted(ws.hear()['type'] for _ in range(21)), ['joined'] * 21)
    counters = fake.counters()
    equal((counters['rooms'], counters['members'], counters['websockets']), (21, 2100, 100))
    for i in range(50):
        fake.command('commit %s "m%d"' % (room, i))
    for ws in members:
        equal([ws.hear()['version'] for _ in range(50)], list(range(1, 51)))
    for ws in members:
        ws.close()
    fake.idle()
    equal(fake.counters()['frames_out'], 100 * 71)


@test(events=16, event_bytes=65536, executors=2)
def an_overrun_ring_is_made_good(fake):
    room = 'conversation:1'
    ws = [Ws(fake), Ws(fake)]
    for one in ws:
        one.join(room)
    pid = int(fake.command('pid'))
    os.kill(pid, signal.SIGSTOP)
    for i in range(100):
        fake.command('commit %s "m%d"' % (room, i))
    os.kill(pid, signal.SIGCONT)
    for one in ws:
        got = [message['version'] for message in (one.hear() for _ in range(101))
               if message['type'] == 'message']
        equal(got[:100], list(range(1, len(got) + 1)))
        one.close()
    assert fake.counters()['resyncs'] > 0


@test()
def frames_that_the_ring_did_not_carry(fake):
    room = 'conversation:1'
    ws = Ws(fake)
    ws.join(room)
    fake.command('flag frameless 1')
    for i in range(5):
        fake.command('commit %s "m%d"' % (room, i))
    equal([ws.hear()['version'] for _ in range(5)], [1, 2, 3, 4, 5])
    fake.command('flag frameless 0')
    fake.command('commit %s "last"' % room)
    equal(ws.hear()['message']['content'], 'last')
    fake.command('publish %s {"x":1}' % room)
    equal(ws.hear(), {'type': 'event', 'room': room, 'event': {'x': 1}})
    ws.close()


@test(tls=True, write_timeout=60000, event_bytes=1 << 22)
def a_slow_websocket_is_cut_and_others_go_on(fake):
    room = 'conversation:1'
    slow = Ws(fake, receive_buffer=4096)
    fast = Ws(fake)
    slow.join(room)
    fast.join(room)
    pad = 'x' * 20000
    sent = 0

    def one_more():
        nonlocal sent
        sent += 1
        fake.command('commit %s "%s"' % (room, pad))
        equal(fast.hear()['version'], sent)
        return fake.counters()['websockets'] == 1
    fake.until(one_more, 'the slow client is cut', 20)
    got = 0
    try:
        while True:
            got += 1
            equal(slow.hear()['version'], got, 'nothing is skipped')
    except (Closed, ConnectionError):
        pass
    assert got < sent
    slow.close()
    fast.close()


def push_until_slow(fake, room, pad, gone):
    """Commit until the edge has had enough of who does not read."""
    sent = 0
    while not gone():
        fake.command('commit %s "%s"' % (room, pad))
        sent += 1
        assert sent * len(pad) < 12 << 20, 'as much as for a fast client'
        time.sleep(0.02)  # the pace of a busy room
    return sent


@test(tls=True, write_timeout=60000, event_bytes=1 << 22)
def who_stays_slow_is_cut_and_resumes(fake):
    room = 'conversation:1'
    slow = Ws(fake, receive_buffer=4096)
    epoch = slow.join(room)['position']['epoch']
    sent = push_until_slow(fake, room, 'x' * 60000, lambda: fake.counters()['members'] == 0)
    got = 0
    try:
        while True:
            got += 1
            equal(slow.hear()['version'], got, 'nothing is skipped')
    except Closed as closed:
        got -= 1
        equal(closed.code, 4420)
        reason = json.loads(closed.reason)
        equal(reason['reason'], 'slow')
        assert 0 < reason['retry_after_ms'] <= 3000, reason
    assert got < sent, 'all was kept'
    slow.close()
    again = Ws(fake)
    joined = again.join(room, since={'epoch': epoch, 'version': got})
    equal(joined['recovered'], True)
    equal([again.hear()['version'] for _ in range(sent - got)], list(range(got + 1, sent + 1)))
    again.close()


@test(write_timeout=60000)
def who_does_not_even_read_the_goodbye_is_cut(fake):
    slow = Ws(fake, receive_buffer=4096)
    slow.join('conversation:1')
    push_until_slow(fake, 'conversation:1', 'x' * 60000, lambda: fake.counters()['members'] == 0)
    began = time.monotonic()
    fake.until(lambda: fake.counters()['websockets'] == 0, 'it is cut', 4)
    assert time.monotonic() - began > 1.5, 'not before it could read'
    slow.close()


@test(write_timeout=60000, event_bytes=1 << 22)
def who_conflates_skips_to_the_newest(fake):
    room = 'conversation:1'
    slow = Ws(fake, receive_buffer=4096)
    slow.join(room, conflate=True)
    sent = push_until_slow(fake, room, 'x' * 60000, lambda: fake.counters()['slow'] > 0)
    for _ in range(20):
        fake.command('commit %s "more"' % room)
    sent += 20
    last = 0
    skipped = None
    while last < sent:
        frame = slow.hear()
        if frame['type'] == 'conflated':
            equal((frame['room'], frame['from']), (room, last))
            assert last < frame['to'] <= sent
            skipped = frame
        else:
            equal(frame['version'], last + 1)  # the fake has a row for each version
            last = frame['version']
            if skipped and last <= skipped['to']:
                equal(frame['message']['content'], 'read', 'from the table')
    assert skipped, 'nothing was skipped'
    equal(slow.ask(type='ping'), {'type': 'pong'})
    slow.close()


def memory_of(fake):
    """Private memory of the edge, kB."""
    with open('/proc/%s/statm' % fake.command('pid')) as statm:
        pages = [int(word) for word in statm.read().split()]
    return (pages[1] - pages[2]) * resource.getpagesize() // 1024


@test(write_timeout=60000, event_bytes=1 << 22, max_connections=1000)
def many_slow_clients_cost_others_nothing(fake):
    room = 'conversation:1'
    fast = Ws(fake)
    fast.join(room)
    slow = [Ws(fake, receive_buffer=4096) for _ in range(200)]
    for ws in slow:
        ws.say(type='join', room=room)
    fake.until(lambda: fake.counters()['members'] == 201)
    before = memory_of(fake)
    most = 0
    sent = 0
    while fake.counters()['members'] > 1:
        fake.command('commit %s "%s"' % (room, 'x' * 60000))
        sent += 1
        equal(fast.hear()['version'], sent)
        most = max(most, memory_of(fake))
        assert sent < 1000
    assert most - before < (24 << 10) * BUDGET / 32, 'kB: %d' % (most - before)
    for ws in slow + [fast]:
        ws.close()


@test(tls=True, write_timeout=60000, max_connections=1000)
def large_frames_are_not_copied_for_slow_clients(fake):
    room = 'conversation:1'
    slow = [Ws(fake, receive_buffer=4096) for _ in range(30)]
    for ws in slow:
        ws.join(room)
    before = memory_of(fake)
    fake.command('flag pad 1000000')
    fake.command('flag frameless 1')
    fake.command('commit %s "large"' % room)
    fake.until(lambda: fake.counters()['frames_out'] == 60)
    used = memory_of(fake) - before
    assert used < (6 << 10) * BUDGET / 32, 'kB: %d' % used
    for ws in slow:
        equal(len(ws.hear()['message']['content']), 1000000)
        equal(ws.ask(type='ping'), {'type': 'pong'})
        ws.close()


@test(write_timeout=60000)
def large_frames_one_after_the_other(fake):
    """To a client that is not quick, but reads what comes."""
    ws = Ws(fake, receive_buffer=65536)
    ws.join('conversation:1')
    ws.join('conversation:2')
    fake.command('flag pad 1000000')
    fake.command('flag frameless 1')
    for sent in range(1, 3):
        fake.command('commit conversation:1 "large"')
        fake.until(lambda: fake.counters()['resyncs'] == sent)
    fake.command('flag frameless 0')
    small = 0
    while len(ws.data) < 2000000:  # some 600 kB a second
        assert ws.more() > 0, 'it was cut'
        fake.command('commit conversation:2 "small"')
        small += 1
        time.sleep(0.1)
    got = [ws.hear() for _ in range(2 + small)]
    for room, n in (('conversation:1', 2), ('conversation:2', small)):
        equal([m['version'] for m in got if m['room'] == room], list(range(1, n + 1)))
    ws.close()


@test(write_timeout=60000, event_bytes=1 << 22)
def rooms_of_a_socket_take_turns(fake):
    ws = Ws(fake, receive_buffer=4096)
    for room in ('first', 'quiet', 'last'):
        ws.join('conversation:' + room)
    for _ in range(100):  # the socket takes no more at some time
        fake.command('commit conversation:first "%s"' % ('x' * 30000))
    fake.command('commit conversation:quiet "here"')
    for _ in range(100):
        fake.command('commit conversation:last "%s"' % ('x' * 1000))
    fake.until(lambda: fake.counters()['events'] == 201)
    got = [ws.hear() for _ in range(201)]
    rooms = [message['room'].split(':')[1] for message in got]
    at = rooms.index('quiet')
    assert rooms[:at].count('last') <= 1, rooms[:at].count('last')
    assert rooms[at:].count('first') >= 20, rooms[at:].count('first')
    for room in ('first', 'last'):
        equal([message['version'] for message, of in zip(got, rooms) if of == room],
              list(range(1, 101)))
    ws.close()


@test(write_timeout=60000, event_bytes=1 << 22)
def the_goodbye_has_one_deadline(fake):
    """However many rooms find out one after the other that the client is slow."""
    ws = Ws(fake, receive_buffer=4096)
    for i in range(4):
        ws.join('conversation:%d' % i)
    push_until_slow(fake, 'conversation:0', 'x' * 60000, lambda: fake.counters()['members'] == 3)
    began = time.monotonic()
    for i in range(1, 4):
        push_until_slow(fake, 'conversation:%d' % i, 'x' * 60000,
                        lambda: fake.counters()['members'] <= 3 - i)
    fake.until(lambda: fake.counters()['websockets'] == 0, 'it is cut', 4)
    assert time.monotonic() - began < 3.9, time.monotonic() - began
    ws.close()


@test(write_timeout=60000, executors=1)
def late_answers_wait_for_the_socket(fake):
    """A client that still reads one room's history is not cut for that of another."""
    for room in ('a', 'b'):
        for _ in range(20):
            fake.command('commit conversation:%s "x"' % room)
    fake.command('flag pad 60000')
    since = {'epoch': Ws(fake).join('conversation:a')['position']['epoch'], 'version': 0}
    ws, other = Ws(fake, receive_buffer=4096), Http(fake)
    equal(ws.ask(type='ping'), {'type': 'pong'})
    fake.command('stop')
    ws.say(type='join', room='conversation:a', since=since)
    fake.until(lambda: fake.counters()['calls'] > 0)
    time.sleep(0.2)
    other.request('/slow?ms=1500')
    time.sleep(0.2)
    ws.say(type='join', room='conversation:b', since=since)
    time.sleep(0.2)
    fake.command('go')
    for _ in range(25):
        ws.data += ws.socket.recv(10000)
        time.sleep(0.1)
    equal(other.answer().status, 200)
    for room in ('a', 'b'):
        equal(ws.hear()['type'], 'joined')
        equal([ws.hear()['version'] for _ in range(20)], list(range(1, 21)))
    ws.close()


# ---- presence --------------------------------------------------------------------------

@test(batch_window=30)
def presence(fake):
    room = 'conversation:1'
    one, two = Ws(fake, token='user-1'), Ws(fake, token='user-2')
    equal(one.ask(type='join', room=room, presence=1, ref=1)['code'], 'PY400')
    equal(one.ask(type='join', room=room, presence=True)['type'], 'joined')
    first = one.hear()
    equal((first['type'], first['room'], first['count']), ('presence', room, 1))
    me = first['members'][0]
    equal(me['devices'], 1)
    equal(two.ask(type='join', room=room, presence=True)['type'], 'joined')
    came = one.hear()
    equal([user['devices'] for user in came['joined']], [1])
    assert came['joined'][0]['user_id'] != me['user_id']
    equal(two.hear()['count'], 2)
    two.close()
    equal(one.hear(), {'type': 'presence', 'room': room, 'joined': [],
                       'left': [came['joined'][0]['user_id']], 'count': 1})
    one.close()
    fake.idle()


# ---- permessage-deflate -----------------------------------------------------------------

NO_TAKEOVER = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover'


@test()
def compression_is_off(fake):
    ws = Ws(fake, deflate='')
    equal(ws.handshake.headers.get('sec-websocket-extensions'), None)
    ws.say_packed(b'{"type":"ping"}')
    equal(ws.end(), 1002)
    ws.close()


@test(websocket_compression=1)
def compression_is_agreed_upon(fake):
    for offer, answer in (('', NO_TAKEOVER), ('; client_max_window_bits', NO_TAKEOVER),
                          ('; server_max_window_bits=9', NO_TAKEOVER + '; server_max_window_bits=9'),
                          ('; server_max_window_bits=99', None), ('; x', None),
                          ('; x, permessage-deflate', NO_TAKEOVER),
                          ('; x\r\nSec-WebSocket-Extensions: permessage-deflate', NO_TAKEOVER)):
        ws = Ws(fake, deflate=offer)
        equal(ws.handshake.headers.get('sec-websocket-extensions'), answer, offer)
        ws.close()
    try:
        Ws(fake, deflate=';;')
    except ConnectionError as error:
        equal(str(error), 'no upgrade: 400')
    else:
        raise AssertionError('a malformed offer was taken')


@test(tls=True, websocket_compression=1, batch_window=0)
def compressed_frames(fake):
    room = 'conversation:1'
    plain, packed, small = Ws(fake), Ws(fake, deflate=''), Ws(fake, deflate='; server_max_window_bits=9')
    small.window_bits = 9
    for ws in (plain, packed, small):
        ws.say(type='join', room=room)
        ws.hear()
    sizes = (10, 300, 2000, 60000)
    for size in sizes:
        fake.command('commit %s "%s"' % (room, 'abcdefgh' * (size // 8)))
    for ws in (plain, packed, small):
        equal([ws.hear()['version'] for _ in sizes], [1, 2, 3, 4])
    equal((plain.packed, packed.packed, small.packed), (0, 3, 1), 'short ones, and long ones')
    assert packed.wire < plain.wire / 10, (packed.wire, plain.wire)
    packed.say_packed(b'{"type":"ping","ref":7}')
    equal(packed.hear(), {'type': 'pong', 'ref': 7})
    for ws in (plain, packed, small):
        ws.close()
    fake.idle()


@test(websocket_compression=1, websocket_message_size=100000)
def bombs(fake):
    for size, level in ((100001, 0), (64 << 20, 9), (90000, 9)):
        ws = Ws(fake, deflate='')
        ws.join('conversation:1')
        ws.say_packed(b'{"type":"ping","a":"%s"}' % (b'a' * size), level)
        equal(ws.end(), 4413, size)
        ws.close()
    ws = Ws(fake, deflate='')
    ws.join('conversation:1')
    ws.say_packed(b'{"type":"ping","a":"%s"}' % (b'a' * 99000), 0)
    equal(ws.hear(), {'type': 'pong'})
    ws.close()
    fake.idle()


# ---- batches, filters, pages, streams -----------------------------------------------

@test(tls=True, batch_window=200)
def batches(fake):
    room = 'conversation:1'
    ws, other = Ws(fake), Ws(fake)
    equal(other.ask(type='options', batch_ms=0, ref=1), {'type': 'ack', 'ref': 1})
    for one in (ws, other):
        one.join(room)
    began = time.monotonic()
    fake.command('commit %s "a"' % room)
    equal(ws.hear()['version'], 1, 'the first at once')
    assert time.monotonic() - began < 0.15, 'the first waits'
    for text in 'bcd':
        fake.command('commit %s "%s"' % (room, text))
    fake.command('publish %s {"type":"x"}' % room)
    batch = ws.hear()
    assert time.monotonic() - began > 0.15, 'nothing gathered'
    equal((batch['type'], batch['room'], batch['version']), ('batch', room, 4))
    equal([m.get('version', m.get('event')) for m in batch['messages']], [2, 3, 4, {'type': 'x'}])
    fake.command('commit %s "e"' % room)
    equal(ws.hear()['version'], 5, 'one alone goes as itself')
    equal([other.hear().get('version') for _ in range(6)], [1, 2, 3, 4, None, 5], 'without a window')
    time.sleep(0.5)
    began = time.monotonic()
    fake.command('commit %s "f"' % room)
    equal(ws.hear()['version'], 6)
    assert time.monotonic() - began < 0.15, 'the window has closed'
    equal(ws.ask(type='options', batch_ms=0, ref=2), {'type': 'ack', 'ref': 2})
    for text in 'gh':
        fake.command('commit %s "%s"' % (room, text))
    equal([ws.hear()['version'] for _ in range(2)], [7, 8], 'another window in the room')
    for bad in (501, -1, 1.5, '5', None):
        equal(ws.ask(type='options', batch_ms=bad)['code'], 'PY400', bad)
    ws.close()
    other.close()


@test(batch_window=100)
def own_signals_are_not_in_a_batch(fake):
    room = 'conversation:1'
    a, b = Ws(fake), Ws(fake, token='user-2')
    for one in (a, b):
        one.join(room)
    for i in range(3):
        a.say(type='signal', room=room, event={'a': i})
        b.say(type='signal', room=room, event={'b': i})

    def events(ws, n):
        got = []
        while len(got) < n:
            frame = ws.hear()
            got += [m['event'] for m in frame.get('messages', [frame])]
        return got
    equal(events(a, 3), [{'b': i} for i in range(3)])
    equal(events(b, 3), [{'a': i} for i in range(3)])
    for ws in (a, b):
        equal(ws.ask(type='ping'), {'type': 'pong'})
        ws.close()


@test(batch_window=0)
def filters(fake):
    room = 'conversation:1'
    ws, all_of_it = Ws(fake), Ws(fake)
    ws.join(room, filter={'types': ['y', 'message.updated', 'y']})
    all_of_it.join(room)
    fake.command('commit %s "a"' % room)
    fake.command('publish %s {"type":"x"}' % room)
    fake.command('publish %s {"type":"y"}' % room)
    equal(ws.hear()['event'], {'type': 'y'})
    equal([all_of_it.hear().get('version') for _ in range(3)], [1, None, None])
    equal(ws.hear(), {'type': 'position', 'room': room, 'version': 1}, 'told after a while')
    ws.join(room, filter={'types': ['message']})
    fake.command('commit %s "b"' % room)
    equal([ws.hear()['version'], all_of_it.hear()['version']], [2, 2])
    epoch = all_of_it.join(room)['position']['epoch']
    equal(ws.join(room, since={'epoch': epoch, 'version': 0}, filter={'types': ['z']})['recovered'], True)
    equal(ws.hear(), {'type': 'position', 'room': room, 'version': 2}, 'nothing of it passed')
    for bad in ([], {}, {'types': []}, {'types': [1]}, {'types': ['']}, {'types': ['x' * 65]},
                {'types': ['t%d' % i for i in range(17)]}, {'types': 'x'}):
        equal(ws.ask(type='join', room=room, filter=bad)['code'], 'PY400', bad)
    equal(ws.ask(type='join', room=room, conflate='yes')['code'], 'PY400')
    fake.command('publish %s {"type":"z"}' % room)
    equal(ws.hear()['event'], {'type': 'z'}, 'who is told no is where it was')
    ws.close()
    all_of_it.close()


@test(tls=True)
def long_answers_come_in_pages(fake):
    room = 'conversation:1'
    first = Ws(fake)
    epoch = first.join(room)['position']['epoch']
    for _ in range(50):
        fake.command('commit %s "x"' % room)
    fake.command('flag page 7')
    ws = Ws(fake)
    joined = ws.join(room, since={'epoch': epoch, 'version': 3})
    equal((joined['recovered'], joined['position']['version']), (True, 10))
    for _ in range(5):
        fake.command('commit %s "live"' % room)
    equal([ws.hear()['version'] for _ in range(52)], list(range(4, 56)))
    ws.close()
    first.close()


@test()
def why_nothing_is_recovered(fake):
    ws = Ws(fake)
    fake.command('commit r "x"')
    joined = ws.join('r')
    assert 'reset' not in joined and not joined['recovered']
    epoch = joined['position']['epoch']
    joined = ws.join('r', since={'epoch': 'other', 'version': 1})
    equal((joined['recovered'], joined['reset']), (False, 'epoch'))
    joined = ws.join('r', since={'epoch': epoch, 'version': 2})
    equal((joined['recovered'], joined['reset']), (False, 'position'))
    ws.close()


@test(batch_window=0)
def rooms_without_versions(fake):
    ws, other = Ws(fake), Ws(fake, token='user-2')
    for one in (ws, other):
        equal(one.join('free:x')['position']['version'], 0)
        equal(one.join('free:read')['write'], False)
    fake.command('publish free:x {"n":1}')
    equal(ws.hear()['event'], {'n': 1})
    ws.say(type='signal', room='free:x', event={'n': 2})
    equal([other.hear()['event']['n'] for _ in range(2)], [1, 2])
    equal(ws.ask(type='signal', room='free:read', event={})['code'], 'PY403')
    fake.command('recheck free:x')
    equal(ws.ask(type='ping'), {'type': 'pong'})
    fake.until(lambda: fake.counters()['resyncs'] == 2)
    fake.command('publish free:x {"n":3}')
    got = ws.hear()['event']
    assert got in ({'n': 3}, {'type': 'missed'}), got  # while it is asked, it may be missed
    ws.close()
    other.close()


@test()
def who_may_not_stay_is_out(fake):
    ws = Ws(fake)
    ws.join('conversation:1')
    fake.command('flag closed 1')
    fake.command('recheck conversation:1')
    equal(ws.hear(), {'type': 'left', 'room': 'conversation:1', 'reason': 'refused'})
    fake.command('commit conversation:1 "secret"')
    equal(ws.ask(type='ping'), {'type': 'pong'})
    ws.close()


@test(batch_window=0, executors=1)
def a_stream_reaches_who_is_entering(fake):
    room = 'conversation:1'
    live = Ws(fake)
    live.join(room)
    for n in range(1, 4):
        fake.command('stream %s' % room)
        equal(live.hear()['index'], n)
    fake.command('stop')
    late = Ws(fake, token=None)  # it signs in before the executors stop below
    fake.command('go')
    equal(late.ask(type='auth', token='user-2', ref=1)['type'], 'ack')
    fake.command('stop')
    late.say(type='join', room=room)
    fake.until(lambda: fake.counters()['members'] == 2)
    for n in range(4, 7):
        fake.command('stream %s' % room)
        equal(live.hear()['index'], n)
    fake.command('go')
    equal(late.hear()['type'], 'joined')
    got = [late.hear()]
    equal(got[0]['text'], 'so far')
    index = got[0]['index']
    fake.command('stream %s' % room)
    while index < 7:
        frame = late.hear()
        assert frame['index'] <= index + 1, 'a hole'
        index = max(index, frame['index'])
    late.close()
    live.close()


@test(tls=True, executors=2)
def closing_in_the_middle_leaves_nothing(fake):
    for i in range(100):
        ws = Ws(fake, token='user-%d' % i)
        ws.say(type='join', room='conversation:%d' % (i % 7))
        ws.say(type='message', room='conversation:%d' % (i % 7), content='x')
        ws.close()
    fake.idle()


# ---- hostile clients ----------------------------------------------------------------

def mutate(rng, data):
    """Cut, repeat, flip and mix bytes."""
    data = bytearray(data)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            data[at:at] = rng.randbytes(rng.randrange(8))
        elif kind == 1:
            del data[at:at + rng.randrange(16)]
        elif kind == 2 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 3:
            data[at:at] = data[max(0, at - rng.randrange(64)):at]
    return bytes(data)


def attack(fake, rng):
    """One client that means no good; whatever it sends, it goes at some point."""
    try:
        if rng.randrange(2):
            http = Http(fake)
            parts = [b'GET /echo?x=%41 HTTP/1.1\r\nHost: h\r\nX-A: b\r\n\r\n',
                     b'POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789',
                     b'GET /bytes?n=200000 HTTP/1.1\r\nHost: h\r\n\r\n',
                     b'GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n',
                     b'GET /api/v1/conversations/11111111-2222-4333-8444-555555555555/events'
                     b'?access_token=u&last_event_id=e0:1 HTTP/1.1\r\nHost: h\r\n\r\n',
                     b'POST /api/v1/conversations/11111111-2222-4333-8444-555555555555/messages'
                     b'?stream=true&access_token=u HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n'
                     b'\r\n"x"',
                     b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n']
        else:
            http = Ws(fake, token=rng.choice(['user-1', 'bad', None]))
            parts = [http.frame(1, b'{"type":"join","room":"conversation:1"}'),
                     http.frame(1, b'{"type":"message","room":"conversation:1","content":"x"}'),
                     http.frame(1, b'{"type":"signal","room":"conversation:1","event":{}}'),
                     http.frame(1, b'{"type":"leave","room":"conversation:1"}'),
                     http.frame(9, b'x' * 125), http.frame(8, b'\x03\xe8'),
                     http.frame(1, b'{"type":"auth","token":"user-2"}'),
                     http.frame(1, b'{"type":', fin=False), http.frame(0, b'"ping"}')]
        for _ in range(rng.randrange(1, 12)):
            part = rng.choice(parts)
            http.send(mutate(rng, part) if rng.randrange(3) == 0 else part)
            if rng.randrange(4) == 0:
                http.socket.settimeout(0.01)
                try:
                    http.more()
                except TimeoutError:
                    pass
        http.close()
    except OSError:
        pass


@test(executors=2, slots=8, header_timeout=2000)
def hostile_clients(fake):
    pid = fake.command('pid')
    rng = random.Random(int(os.environ.get('SEED', '7')))
    kept = Ws(fake)
    kept.join('conversation:1')
    end = time.monotonic() + float(os.environ.get('ATTACK_SECONDS', '2'))
    count = 0
    while time.monotonic() < end:
        attack(fake, rng)
        count += 1
        if count % 50 == 0:
            equal(once(fake, '/livez').status, 200, 'still serving')
    kept.close()
    fake.idle()
    equal(fake.command('pid'), pid)
    print('# %d clients' % count)


# ---- running ---------------------------------------------------------------------------

def run_one(program, edge, function, settings, tls):
    fake = Fake(program, edge, **settings)
    problem = None
    try:
        if tls:
            fake.use_certificate('a')
        function(fake)
        fake.idle()
        equal(once(fake, '/livez').status, 200, 'alive at the end')
    except Exception:
        problem = traceback.format_exc()
    fake.stop()
    for line in fake.log:
        if 'AddressSanitizer' in line or 'runtime error' in line:
            problem = (problem or '') + '\n' + line
    if problem:
        problem += '\n' + '\n'.join(fake.log[-40:])
    return problem


def run_sandbox(edge):
    """penny-edge tries what is forbidden; its TAP, as comments where it fails."""
    result = subprocess.run([edge, '--sandbox-test'], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, timeout=60)
    return result.returncode == 0, result.stdout.decode().splitlines()


def main():
    global BUDGET
    program, edge, names = sys.argv[1], shutil.which(sys.argv[2]), sys.argv[3:]
    others = {'--cached': edge_cached.TESTS, '--sse': edge_sse.TESTS, '--jobs': edge_jobs.TESTS}
    tests = next((others[name] for name in names if name in others), TESTS)
    names = [name for name in names if name not in others]
    with open(edge, 'rb') as binary:
        if b'__asan_init' in binary.read():
            BUDGET = float('inf')
    chosen = [t for t in tests if not names or t[0].__name__ in names]
    with_sandbox = not names and tests is TESTS
    failed = 0
    # Some tests open more sockets than a login session may by default.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print('1..%d' % (len(chosen) + with_sandbox))
    if with_sandbox:
        good, lines = run_sandbox(edge)
        failed += not good
        print('%sok 1 - sandbox' % ('' if good else 'not '))
        print('\n'.join('# ' + line for line in lines if not good), flush=True)
    for number, (function, settings, tls) in enumerate(chosen, 1 + with_sandbox):
        started = time.monotonic()
        problem = run_one(program, edge, function, settings, tls)
        failed += problem is not None
        print('%sok %d - %s # %.1f s' % ('not ' if problem else '', number,
                                         function.__name__.replace('_', ' ') +
                                         (' (TLS)' if tls else ''),
                                         time.monotonic() - started), flush=True)
        if problem:
            print('\n'.join('# ' + line for line in problem.splitlines()), flush=True)
    CERTIFICATES.remove()
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
