"""Tests of t_edge.py: event streams.

The reader here is strict: chunks, fields and ids must be as they are promised,
byte by byte, so that lenient clients of others understand them.
"""
import json
import re
import threading
import time

from edge_client import Closed, Http, LIMIT, Ws, once

TESTS = []
ID = '11111111-2222-4333-8444-%012d'
FIELD = re.compile(rb'(id|event|data|retry)(: (.*))?\Z', re.S)


def test(tls=False, **settings):
    def keep(function):
        TESTS.append((function, settings, False))
        if tls:
            TESTS.append((function, settings, True))
        return function
    return keep


def equal(got, wanted, what=''):
    if got != wanted:
        raise AssertionError('%s: got %r, wanted %r' % (what, got, wanted))


class Event:
    def __init__(self, kind, id, data):
        self.kind = kind
        self.id = id
        self.data = data

    @property
    def version(self):
        return int(self.id.rsplit(':', 1)[1])


class Sse(Http):
    """An event stream; hear() gives events, retry and comments are noted."""

    def __init__(self, fake, target, token='user-1', headers='', receive_buffer=None, **more):
        Http.__init__(self, fake, receive_buffer)
        self.text = b''
        self.retry = []
        self.comments = []
        self.last_id = None
        self.whole = False  # the last chunk came
        if token:
            headers += 'Authorization: Bearer %s\r\n' % token
        self.request(target, headers=headers, **more)
        while b'\r\n\r\n' not in self.data:
            if not self.more():
                raise ConnectionError('closed before an answer')
        head = self.data.split(b'\r\n\r\n', 1)[0].decode().split('\r\n')
        self.status = int(head[0].split()[1])
        self.headers = {line.split(': ', 1)[0].lower(): line.split(': ', 1)[1]
                        for line in head[1:]}
        if self.headers['content-type'] != 'text/event-stream':
            self.problem = self.answer()
            return
        self.problem = None
        self.data = self.data.split(b'\r\n\r\n', 1)[1]
        self.chunked = self.headers.get('transfer-encoding') == 'chunked'

    def need(self, n):
        while len(self.data) < n:
            if not self.more():
                raise Closed(None, 'in the middle')

    def chunk(self):
        """One chunk of the body; b'' at its end."""
        if not self.chunked:
            if not self.data and not self.more():
                return b''
            data, self.data = self.data, b''
            return data
        while b'\r\n' not in self.data:
            self.need(len(self.data) + 1)
        size, self.data = self.data.split(b'\r\n', 1)
        if not re.fullmatch(rb'[0-9a-f]{1,8}', size):
            raise AssertionError('size of a chunk: %r' % size)
        size = int(size, 16)
        self.need(size + 2)
        data, self.data = self.data[:size], self.data[size + 2:]
        if size == 0:
            self.whole = True
        return data

    def hear(self):
        """The next event; Closed at the end."""
        while True:
            while b'\n\n' not in self.text:
                data = self.chunk()
                if not data:
                    equal(self.text, b'', 'an event is whole')
                    raise Closed(0, 'the end')
                if b'\r' in data:
                    raise AssertionError('a CR in %r' % data)
                self.text += data
            block, self.text = self.text.split(b'\n\n', 1)
            event = self.read(block)
            if event:
                return event

    def read(self, block):
        fields = {}
        for line in block.split(b'\n'):
            if line.startswith(b':'):
                self.comments.append(line[1:].strip().decode())
                continue
            found = FIELD.match(line)
            if not found or found.group(1) in fields:
                raise AssertionError('a field: %r in %r' % (line, block))
            fields[found.group(1)] = found.group(3).decode()
        if b'retry' in fields:
            equal(list(fields), [b'retry'], 'retry stands alone')
            self.retry.append(int(fields[b'retry']))
            return None
        if not fields:
            return None
        equal([name for name in fields if name != b'id'], [b'event', b'data'], 'fields')
        data = json.loads(fields[b'data'])
        equal(fields[b'event'], data['type'], 'the event is the type of the frame')
        self.last_id = fields.get(b'id', self.last_id)
        return Event(fields[b'event'], fields.get(b'id'), data)

    def rest(self):
        """Events up to the end of the stream."""
        events = []
        try:
            while True:
                events.append(self.hear())
        except Closed as closed:
            if self.chunked and not self.whole:
                raise AssertionError('the stream broke off: %s' % closed)
        return events

    def broken(self):
        """Events up to where the stream breaks off."""
        events = []
        try:
            while True:
                events.append(self.hear())
        except (Closed, ConnectionError):
            equal(self.whole, False, 'it was not whole')
        return events


def events(n):
    return '/api/v1/conversations/%s/events' % (ID % n)


def room(n):
    return 'conversation:' + ID % n


def messages(n):
    return '/api/v1/conversations/%s/messages?stream=true' % (ID % n)


def post(fake, n, content='"x"', **more):
    return Sse(fake, messages(n), method='POST', body=content.encode(), **more)


@test(tls=True)
def a_stream(fake):
    fake.command('commit %s "one"' % room(1))
    sse = Sse(fake, events(1), headers='Accept: text/event-stream\r\n')
    equal((sse.status, sse.headers['cache-control'], sse.headers['connection'],
           sse.headers['transfer-encoding'], 'content-length' in sse.headers,
           'content-encoding' in sse.headers, len(sse.headers['x-request-id'])),
          (200, 'no-cache', 'close', 'chunked', False, False, 32))
    joined = sse.hear()
    equal((joined.kind, joined.id, joined.data),
          ('joined', 'e0:1', {'type': 'joined', 'room': room(1), 'recovered': False,
                              'position': {'epoch': 'e0', 'version': 1}}))
    equal(len(sse.retry), 1, 'a hint when to come back')
    assert 200 <= sse.retry[0] <= 3000
    ws = Ws(fake, token='user-2')
    ws.join(room(1))
    fake.command('commit %s "two"' % room(1))
    event = sse.hear()
    equal((event.kind, event.id), ('message', 'e0:2'))
    equal(event.data, ws.hear(), 'the same as by WebSocket')
    fake.command('stream %s' % room(1))
    event = sse.hear()
    equal((event.kind, event.id, event.data['delta']), ('stream', None, 'x'), 'no version, no id')
    ws.hear()
    ws.send(ws.frame(1, ('{"type":"signal","room":"%s","event":{"a":\r\n [1,\n2]}}' %
                         room(1)).encode()))
    event = sse.hear()
    equal((event.kind, event.data['event']), ('event', {'a': [1, 2]}), 'line ends are no text')
    equal(fake.counters()['event_streams'], 1)
    ws.close()
    sse.close()


@test()
def what_is_no_stream(fake):
    fake.command('commit %s "one"' % room(1))
    for target, token, headers, status, code in (
            (events(1), None, '', 401, 'PY401'),
            (events(1), 'bad', '', 401, 'PY401'),
            (events(1), 'user-1', 'Accept: application/json\r\n', 406, 'PY406'),
            (events(1), 'user-1', 'Accept: text/event-stream;q=0\r\n', 406, 'PY406'),
            (events(1), 'user-1', 'Last-Event-ID: e0\r\n', 400, 'PY400'),
            (events(1), 'user-1', 'Last-Event-ID: e0:x\r\n', 400, 'PY400'),
            (events(1), 'user-1', 'Last-Event-ID: e"0:1\r\n', 400, 'PY400'),
            (events(1), 'user-1', 'Last-Event-ID: e0:01\r\n', 400, 'PY400'),
            (events(1) + '?last_event_id=e0', 'user-1', '', 400, 'PY400'),
            (events(1) + 'x', 'user-1', '', 404, 'PY404'),
            ('/api/v1/conversations/7/events', 'user-1', '', 404, 'PY404')):
        sse = Sse(fake, target, token=token, headers=headers)
        what = '%s %s' % (target, headers)
        equal((sse.problem.status, sse.problem.json()['code']), (status, code), what)
        equal(sse.problem.headers['content-type'], 'application/problem+json', what)
        equal('www-authenticate' in sse.problem.headers, status == 401, what)
        sse.close()
    answer = once(fake, events(1), method='POST')
    equal((answer.status, answer.headers['allow']), (405, 'GET, HEAD'))
    fake.command('flag closed 1')
    sse = Sse(fake, events(1))
    equal((sse.problem.status, sse.problem.json()['detail']), (404, 'as scripted'))
    sse.close()
    fake.command('flag closed 0')
    for accept in ('', 'Accept: */*\r\n', 'Accept: text/html, Text/Event-Stream ;q=0.5\r\n',
                   'Accept: text/*\r\n'):
        sse = Sse(fake, events(1).upper().replace('/API/V1/CONVERSATIONS', '/api/v1/conversations')
                  .replace('/EVENTS', '/events') + '?access_token=user-1', token=None,
                  headers=accept)
        equal(sse.hear().data['room'], room(1), accept)
        sse.close()


@test()
def head_and_http_1_0(fake):
    http = Http(fake)
    auth = 'Authorization: Bearer user-1\r\n'
    answer = http.get(events(1), method='HEAD', headers=auth)
    equal((answer.status, answer.headers['content-type'], answer.headers['transfer-encoding']),
          (200, 'text/event-stream', 'chunked'))
    assert http.closed()
    http.close()
    fake.command('flag closed 1')
    http = Http(fake)
    equal(http.get(events(1), method='HEAD', headers=auth).status, 404)
    assert http.closed()
    http.close()
    fake.command('flag closed 0')
    sse = Sse.__new__(Sse)
    real = Http.request

    def old(self, target, method='GET', headers='', body=b''):
        self.send('GET %s HTTP/1.0\r\n%s\r\n' % (target, headers))
    Http.request = old
    try:
        sse.__init__(fake, events(1))
    finally:
        Http.request = real
    equal(sse.chunked, False)
    equal(sse.hear().kind, 'joined')
    fake.command('commit %s "one"' % room(1))
    equal(sse.hear().version, 1)
    fake.command('set batch_window 0')
    fake.command('flag closed 1')
    fake.command('recheck %s' % room(1))
    equal([event.kind for event in sse.rest()], ['left'])
    sse.close()


@test(batch_window=100)
def batches_are_several_events(fake):
    sse = Sse(fake, events(1))
    other = Sse(fake, events(1), token='user-2')
    sse.hear(), other.hear()
    for i in range(20):
        fake.command('commit %s "m"' % room(1))
    fake.command('stream %s' % room(1))
    kinds = []
    for i in range(21):
        event = sse.hear()
        kinds.append(event.kind)
        same = other.hear()
        equal((same.id, same.data), (event.id, event.data))
        if i < 20:
            equal((event.version, event.data['version']), (i + 1, i + 1))
    equal(kinds, ['message'] * 20 + ['stream'])
    equal(sse.last_id, 'e0:20', 'the last of a batch says how far it reaches')
    assert fake.counters()['frames_out'] < 20, 'they were gathered'
    sse.close()
    other.close()


@test(tls=True)
def resuming(fake):
    for i in range(5):
        fake.command('commit %s "m"' % room(1))
    for how in ({'headers': 'Last-Event-ID: e0:2\r\n'}, {'query': '?last_event_id=e0:2'},
                {'headers': 'Last-Event-ID: e0:2\r\n', 'query': '?last_event_id=e0:1'},
                {'headers': 'Last-Event-ID: \r\n', 'query': '?last_event_id=e0%3A2'}):
        sse = Sse(fake, events(1) + how.get('query', ''), headers=how.get('headers', ''))
        joined = sse.hear()
        equal((joined.id, joined.data['recovered']), ('e0:2', True), 'who goes now has no more')
        equal([sse.hear().version for _ in range(3)], [3, 4, 5])
        sse.close()
    sse = Sse(fake, events(1), headers='Last-Event-ID: other:2\r\n')
    joined = sse.hear()
    equal((joined.id, joined.data['recovered'], joined.data['reset']), ('e0:5', False, 'epoch'))
    sse.close()
    sse = Sse(fake, events(1), headers='Last-Event-ID: e0:9\r\n')
    equal(sse.hear().data['reset'], 'position')
    sse.close()
    fake.command('flag page 2')
    sse = Sse(fake, events(1), headers='Last-Event-ID: e0:0\r\n')
    sse.hear()
    equal([sse.hear().version for _ in range(5)], [1, 2, 3, 4, 5], 'in pages')
    sse.close()


@test(batch_window=20, executors=2)
def no_gap_and_no_duplicate_under_writers(fake):
    wanted = 400
    done = []

    def write():
        for _ in range(wanted):
            fake.command('commit %s "w"' % room(1))
        done.append(True)

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    last = 'e0:0'
    breaks = 0
    end = time.monotonic() + LIMIT
    while len(seen) < wanted and time.monotonic() < end:
        sse = Sse(fake, events(1), headers='Last-Event-ID: %s\r\n' % last)
        sse.hear()
        stop = len(seen) + 1 + breaks % 17
        while len(seen) < min(stop, wanted):
            seen.append(sse.hear().version)
        last = sse.last_id
        # in the middle of an event, and of a chunk, too
        sse.close()
        breaks += 1
    writer.join()
    equal(seen, list(range(1, wanted + 1)))
    assert breaks > 20, breaks


@test(batch_window=0)
def who_may_not_stay(fake):
    sse = Sse(fake, events(1))
    sse.hear()
    fake.command('flag closed 1')
    fake.command('recheck %s' % room(1))
    rest = sse.rest()
    equal([(event.kind, event.data['reason']) for event in rest], [('left', 'refused')])
    assert sse.closed()
    sse.close()


@test()
def the_token_ends(fake):
    started = time.monotonic()
    sse = Sse(fake, events(1), token='short')
    sse.hear()
    equal(sse.rest(), [])
    equal(sse.comments, ['the token has ended'])
    assert 0.9 < time.monotonic() - started < 8
    sse.close()


@test(heartbeat_interval=200)
def heartbeats(fake):
    started = time.monotonic()
    sse = Sse(fake, events(1))
    sse.hear()
    time.sleep(0.9)
    fake.command('commit %s "one"' % room(1))
    sse.hear()
    assert 1 <= len(sse.comments) <= 1 + (time.monotonic() - started) / 0.2, sse.comments
    equal(set(sse.comments), {''})
    sse.close()


@test()
def draining(fake):
    sse = Sse(fake, events(1))
    sse.hear()
    asking = post(fake, 2)
    asking.hear()
    equal(fake.command('term'), '0')
    equal(sse.rest(), [])
    equal(len(sse.retry), 2, 'and when to come back')
    assert sse.closed()
    equal(asking.broken(), [])
    equal(len(asking.retry), 2, 'who follows an answer, too')
    sse.close()
    asking.close()
    fake.command('start')


@test()
def draining_before_it_began(fake):
    fake.command('stop')
    http = Http(fake)
    http.request(events(1), headers='Authorization: Bearer user-1\r\n')
    other = Http(fake)
    equal(other.get('/livez').status, 200, 'it was read')
    other.close()
    equal(fake.command('term'), '0')
    answer = http.answer()
    equal((answer.status, 'retry-after' in answer.headers), (503, True))
    assert http.closed()
    http.close()
    fake.command('go')
    fake.command('start')


@test()
def a_restart(fake):
    sse = Sse(fake, events(1))
    sse.hear()
    fake.command('commit %s "one"' % room(1))
    equal(sse.hear().version, 1)
    fake.command('kill')
    try:
        sse.hear()
        raise AssertionError('it goes on')
    except (Closed, ConnectionError):
        pass
    equal(sse.whole, False, 'that was no end')
    fake.command('commit %s "two"' % room(1))
    back = Sse(fake, events(1), headers='Last-Event-ID: %s\r\n' % sse.last_id)
    equal(back.hear().data['recovered'], True)
    equal(back.hear().version, 2)
    sse.close()
    back.close()


@test(batch_window=0, event_bytes=8 << 20, executors=2)
def who_does_not_read_is_closed_and_resumes(fake):
    slow = Sse(fake, events(1), receive_buffer=4096)
    slow.hear()
    good = Sse(fake, events(1), token='user-2')
    good.hear()
    pad = '"%s"' % ('x' * 20000)
    sent = 0
    end = time.monotonic() + 2 * LIMIT
    while fake.counters()['slow'] == 0:
        assert time.monotonic() < end, 'it is closed'
        sent += 1
        fake.command('commit %s %s' % (room(1), pad))
        equal(good.hear().version, sent, 'others go on')
        if sent > 60:
            time.sleep(0.05)
    last = [0]
    try:
        while True:
            last.append(slow.hear().version)
    except (Closed, ConnectionError):
        pass
    equal(last, list(range(last[-1] + 1)), 'in order up to there')
    assert last[-1] < sent
    back = Sse(fake, events(1), headers='Last-Event-ID: %s\r\n' % slow.last_id)
    back.hear()
    equal([back.hear().version for _ in range(last[-1], sent)],
          list(range(last[-1] + 1, sent + 1)), 'nothing is missing')
    for sse in (slow, good, back):
        sse.close()


@test(batch_window=0, executors=2, event_bytes=8 << 20, events=8192)
def who_reads_late_gets_everything(fake):
    late = Sse(fake, events(1), receive_buffer=4096)
    late.hear()
    count = 2500
    for i in range(count):
        fake.command('commit %s "%s"' % (room(1), 'x' * (i * 37 % 400)))
    equal([late.hear().version for _ in range(count)], list(range(1, count + 1)))
    late.close()


@test()
def what_the_client_says_is_dropped(fake):
    http = Sse(fake, events(1))
    http.hear()
    for _ in range(50):
        http.send(b'GET /echo HTTP/1.1\r\nHost: a\r\n\r\n' * 100)
    fake.command('commit %s "one"' % room(1))
    equal(http.hear().version, 1)
    equal(fake.executors()['calls'] <= 4, True, 'none of it is a request')
    http.close()


@test()
def pages_of_listed_origins(fake):
    fake.command('set origins https://app.example')
    origin = 'Origin: https://app.example\r\n'
    sse = Sse(fake, events(1), headers=origin)
    equal(sse.headers['access-control-allow-origin'], 'https://app.example')
    sse.close()
    sse = Sse(fake, events(1), headers='Origin: https://evil.example\r\n')
    equal('access-control-allow-origin' in sse.headers, False)
    sse.close()
    sse = Sse(fake, events(1), headers=origin + 'Last-Event-ID: x\r\n')
    equal((sse.status, sse.headers['access-control-allow-origin']), (400, 'https://app.example'))
    sse.close()
    answer = once(fake, events(1), method='OPTIONS', headers=origin +
                  'Access-Control-Request-Method: GET\r\n')
    equal((answer.status, answer.headers['access-control-allow-methods']), (204, 'GET, HEAD'))
    assert 'Last-Event-ID' in answer.headers['access-control-allow-headers']


ANSWER = '"%s","id":"%s","role":"%s","status":"%s"'


def say(fake, n, text, id='a', role='assistant', status='completed'):
    fake.command('commit %s %s' % (room(n), ANSWER % (text, ID % ord(id), role, status)))


@test(tls=True)
def following_an_answer(fake):
    sse = post(fake, 1, '"why"', headers='Accept: text/event-stream\r\n')
    equal((sse.status, sse.headers['location'], sse.headers['connection']),
          (201, '/stored', 'close'))
    event = sse.hear()
    equal((event.kind, event.id, event.data),
          ('message', 'e0:1', {'type': 'message', 'room': room(1), 'version': 1,
                               'message': {'id': 'm-1', 'seq': 1, 'role': 'user'}}))
    say(fake, 1, 'also', id='u', role='user')
    equal(sse.hear().version, 2, 'what the room tells comes along')
    say(fake, 1, '', status='streaming')
    equal(sse.hear().version, 3)
    for i in range(5):
        fake.command('stream %s' % room(1))
    equal([sse.hear().data['index'] for _ in range(5)], [1, 2, 3, 4, 5], 'pieces in order')
    say(fake, 1, 'other', id='b')
    equal(sse.hear().version, 4, 'another message is not the answer')
    say(fake, 1, 'because')
    say(fake, 1, 'late')
    equal([event.version for event in sse.rest()], [5], 'it ends with the answer')
    equal(sse.whole, True)
    assert sse.closed()
    sse.close()


@test()
def what_is_not_stored_is_an_answer_like_others(fake):
    http = Http(fake)
    auth = 'Authorization: Bearer user-1\r\n'
    answer = http.get(messages(1), method='POST', body=b'"bad"', headers=auth)
    equal((answer.status, answer.json()['code'], answer.headers['content-type']),
          (400, 'PY400', 'application/problem+json'))
    answer = http.get(messages(1), method='POST', body=b'"x"', headers=auth +
                      'Accept: application/json\r\n')
    equal(answer.status, 406, 'before anything is stored')
    equal(http.get('/echo').status, 200, 'the connection goes on')
    http.close()


@test()
def repeating_a_message(fake):
    say(fake, 1, 'why', id='u', role='user')
    say(fake, 1, 'other', id='b')
    say(fake, 1, 'because', status='streaming')
    sse = post(fake, 1, '"repeat 1 %s"' % (ID % ord('a')))
    equal(sse.status, 200)
    equal(sse.hear().id, 'e0:1')
    # the fake reads versions back without roles: only the live ones can end it
    equal([sse.hear().version for _ in range(2)], [2, 3])
    say(fake, 1, 'another', id='c')
    say(fake, 1, 'because')
    equal([event.version for event in sse.rest()], [4, 5], 'the answer that it says, no other')
    sse.close()


@test(stream_timeout=700, heartbeat_interval=200)
def nothing_is_heard(fake):
    started = time.monotonic()
    sse = post(fake, 1)
    sse.hear()
    time.sleep(0.4)
    say(fake, 1, '', status='streaming')
    equal([event.version for event in sse.rest()], [2], 'heartbeats are no frames')
    assert 1.0 < time.monotonic() - started < 8, time.monotonic() - started
    equal(sse.comments[-1], 'nothing was heard of an answer')
    sse.close()


@test()
def who_may_not_follow(fake):
    fake.command('flag closed 1')
    sse = post(fake, 1)
    equal([event.kind for event in sse.broken()], ['message'], 'it is stored, and told')
    sse.close()


@test(executors=2)
def many_that_go_in_the_middle(fake):
    for i in range(150):
        target = events(i % 5)
        http = Http(fake)
        if i % 3 == 0:
            http.request(target, headers='Authorization: Bearer user-%d\r\n' % i)
        elif i % 3 == 1:
            http.request(messages(i % 5), method='POST', body=b'"x"',
                         headers='Authorization: Bearer user-%d\r\n' % i)
        else:
            http = Sse(fake, target)
            http.hear()
        http.close()
    fake.idle()


@test(max_connections_per_address=20)
def streams_count_as_connections(fake):
    streams = [Sse(fake, events(1), token='user-%d' % i) for i in range(19)]
    for sse in streams:
        sse.hear()
    http = Http(fake)
    equal(http.get('/livez').status, 200)
    more = Http(fake)
    equal(more.get('/livez').status, 429)
    for one in streams + [http, more]:
        one.close()
