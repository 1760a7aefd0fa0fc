"""Tests of t_edge.py: what the edge answers from the cache, gathers, compresses.

The routes are those of fake_cached.c; "calls" of the executors says whether the
edge answered alone.
"""
import ctypes
import ctypes.util
import gzip
import time
import zlib

from edge_client import Http, once

TESTS = []
USER = 'Authorization: Bearer tok\r\n'


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


def expand(answer):
    """The body as it was before it was compressed."""
    coding = answer.headers.get('content-encoding')
    if coding is None:
        return answer.body
    if coding == 'gzip':
        return gzip.decompress(answer.body)
    if coding == 'deflate':
        return zlib.decompress(answer.body)
    library = ctypes.CDLL(ctypes.util.find_library('brotlidec'))
    size = ctypes.c_size_t(4 << 20)
    out = ctypes.create_string_buffer(size.value)
    equal(library.BrotliDecoderDecompress(ctypes.c_size_t(len(answer.body)), answer.body,
                                          ctypes.byref(size), out), 1, 'brotli')
    return out.raw[:size.value]


def calls(fake):
    return fake.executors()['calls']


def fill(fake, http, target, headers=USER):
    """Twice, so that the cache has it and the edge knows the token."""
    equal(http.get(target, headers=headers).headers['x-cache'], 'miss', target)
    answer = http.get(target, headers=headers)
    equal((answer.status, answer.headers['x-cache']), (200, 'hit'), target)
    return answer


# ---- hits --------------------------------------------------------------------------

@test(tls=True)
def a_hit_needs_no_executor(fake):
    http = Http(fake)
    first = fill(fake, http, '/cached/a?n=9000')
    before = calls(fake)
    for _ in range(50):
        answer = http.get('/cached/a?n=9000', headers=USER)
        equal((answer.status, answer.headers['x-cache'], answer.body), (200, 'hit', first.body))
        equal(answer.headers['etag'], first.headers['etag'])
        equal(answer.headers['cache-control'], 'private, no-cache')
        assert int(answer.headers['age']) >= 0
    equal(calls(fake), before)
    equal(fake.counters()['cache_hits'], 51)
    # what it depends on has changed: the next one is new
    fake.command('push thing:a')
    answer = http.get('/cached/a?n=9000', headers=USER)
    equal(answer.headers['x-cache'], 'miss')
    assert answer.body != first.body
    http.close()


@test()
def whose_it_is(fake):
    http = Http(fake)
    mine = fill(fake, http, '/cached/a')
    other = http.get('/cached/a', headers='Authorization: Bearer other\r\n')
    equal(other.headers['x-cache'], 'miss', 'of another user')
    assert other.body != mine.body
    equal(http.get('/cached/a').status, 401, 'of nobody')
    equal(http.get('/cached/a', headers='Authorization: Bearer bad1\r\n').status, 401)
    equal(http.get('/cached/a?access_token=tok').headers['x-cache'], 'hit', 'by query')
    # everybody's
    http.get('/shared/a')
    before = calls(fake)
    equal(http.get('/shared/a').headers['x-cache'], 'hit')
    equal(http.get('/shared/a', headers=USER).headers['x-cache'], 'hit')
    equal(calls(fake), before)
    # a token that is not known is looked at even there
    equal(http.get('/shared/a', headers='Authorization: Bearer bad2\r\n').status, 401)
    # a role's: two of it share, another is refused
    http.get('/agents/a', headers='Authorization: Bearer agent1\r\n')
    http.get('/agents/b', headers='Authorization: Bearer agent2\r\n')
    before = calls(fake)
    equal(http.get('/agents/a', headers='Authorization: Bearer agent2\r\n').headers['x-cache'],
          'hit')
    equal(calls(fake), before)
    equal(http.get('/agents/a', headers=USER).status, 403)
    # the same for all who may have it, but not all may
    fill(fake, http, '/secret/a', 'Authorization: Bearer agent1\r\n')
    equal(http.get('/secret/a', headers=USER).status, 403, 'access')
    equal(http.get('/secret/a').status, 403, 'access of nobody')
    http.close()


@test()
def what_ends_a_token(fake):
    http = Http(fake)

    def is_known(token):
        before = calls(fake)
        answer = http.get('/shared/t', headers='Authorization: Bearer %s\r\n' % token)
        equal(answer.status, 200)
        return calls(fake) == before

    for token, end in (('one', 'push session:one'), ('two', 'keys')):
        is_known(token)
        assert is_known(token)
        fake.command(end)
        assert not is_known(token), end
        assert is_known(token)
    is_known('short1')
    assert is_known('short1')
    fake.until(lambda: not is_known('short1'), 'its end')
    http.close()


@test()
def which_requests_are_for_executors(fake):
    http = Http(fake)
    fill(fake, http, '/cached/a')
    for more in ('Cache-Control: no-cache\r\n', 'Cache-Control: max-age=0, no-store\r\n'):
        before = calls(fake)
        equal(http.get('/cached/a', headers=USER + more).status, 200)
        equal(calls(fake), before + 1, more)
    before = calls(fake)
    http.get('/cached/a', headers=USER + 'Cache-Control: max-age=0\r\n')
    equal(calls(fake), before)
    http.request('/cached/a', headers=USER, body=b'{}')
    http.answer()
    equal(calls(fake), before + 1, 'with a body')
    equal(http.get('/cached/a?x=1', headers=USER).headers['x-cache'], 'miss', 'other arguments')
    equal(http.get('/cached/%61', headers=USER).headers['x-cache'], 'hit', 'the same path')
    http.close()


@test(tls=True)
def head_of_a_hit(fake):
    http = Http(fake)
    for more in ('', 'Accept-Encoding: gzip\r\n', 'Accept-Encoding: br\r\n'):
        fill(fake, http, '/cached/h?n=5000&more=%d' % len(more), USER + more)
        got = http.get('/cached/h?n=5000&more=%d' % len(more), headers=USER + more)
        head = http.get('/cached/h?n=5000&more=%d' % len(more), method='HEAD', headers=USER + more)
        equal(head.body, b'')
        for name in ('x-request-id', 'date', 'age'):
            got.headers.pop(name)
            head.headers.pop(name)
        equal((head.status, head.headers), (200, got.headers))
    http.close()


@test(tls=True)
def hits_are_in_order(fake):
    http = Http(fake)
    for name in 'abcde':
        fill(fake, http, '/cached/%s?n=3000' % name)
    text = ''
    for i in range(200):
        target = '/echo?n=%d' % i if i % 7 == 0 else '/cached/%s?n=3000' % 'abcde'[i % 5]
        text += 'GET %s HTTP/1.1\r\nHost: h\r\n%s\r\n' % (target, USER)
    http.send(text)
    for i in range(200):
        got = http.answer().json()
        if i % 7 == 0:
            equal(got['target'], '/echo?n=%d' % i)
        else:
            equal(got['path'], '/cached/' + 'abcde'[i % 5])
    http.close()


@test(tls=True)
def a_large_hit_and_a_slow_reader(fake):
    http = Http(fake)
    whole = fill(fake, http, '/cached/l?n=1000000')
    equal(len(whole.body), 1000000)
    slow = Http(fake, receive_buffer=8192)
    for _ in range(8):
        slow.request('/cached/l?n=1000000', headers=USER)
    for _ in range(8):
        equal(slow.answer().body, whole.body)
    slow.close()
    http.close()


@test(cache_chunks=1 << 16, cache_max_object=16 << 20, write_timeout=60000)
def hits_that_nobody_reads(fake):
    """What waits for slow clients is bounded also when no executor waits with it."""
    size = 15000000
    http = Http(fake)
    fill(fake, http, '/cached/l?n=%d' % size)
    slow = []
    for i in range(60):
        slow.append(Http(fake, receive_buffer=4096, segment=536))
        slow[i].request('/cached/l?n=%d' % size, headers=USER)
    # 60 times 15 MB would be more than the 512 MB that may wait
    fake.until(lambda: fake.counters()['cache_hits'] == 61, 'their answers')
    fake.until(lambda: fake.counters()['connections'] < 45, 'some are cut')
    equal(len(http.get('/cached/l?n=%d' % size, headers=USER).body), size, 'who reads is served')
    for client in slow:
        client.close()
    http.close()


@test(cache_chunks=0)
def without_a_cache(fake):
    http = Http(fake)
    for _ in range(3):
        equal(http.get('/cached/a', headers=USER).headers['x-cache'], 'miss')
    equal(fake.counters()['cache_hits'], 0)
    http.close()


@test(requests_per_second=20)
def how_often_a_user_may_ask(fake):
    # from several addresses, so that it is not the address that is counted
    clients = [Http(fake, source='127.0.0.%d' % i) for i in range(2, 8)]
    for client in clients:
        equal(client.get('/shared/r').status, 200)
    clients[0].get('/shared/r', headers=USER)
    begun = time.monotonic()
    statuses = [client.get('/shared/r', headers=USER).status
                for _ in range(15) for client in clients]
    allowed = 20 * (1 + time.monotonic() - begun) + 1
    assert 0 < statuses.count(200) <= allowed, (statuses.count(200), allowed)
    equal(set(statuses), {200, 429})
    # another user is not touched by that
    equal(clients[0].get('/shared/r', headers='Authorization: Bearer other\r\n').status, 200)
    for client in clients:
        client.close()


# ---- If-None-Match -------------------------------------------------------------------

@test(tls=True)
def not_modified(fake):
    http = Http(fake)
    tag = fill(fake, http, '/cached/a?n=3000').headers['etag']
    before = calls(fake)
    bare = tag.strip('"')
    for value, said in ((tag, tag), ('W/' + tag, 'W/' + tag), ('*', tag),
                        ('"x", %s' % tag, tag), ('"%s-gzip"' % bare, '"%s-gzip"' % bare),
                        ('"x","%s-br"' % bare, '"%s-br"' % bare)):
        for coding in ('', 'Accept-Encoding: br\r\n'):
            answer = http.get('/cached/a?n=3000',
                              headers=USER + coding + 'If-None-Match: %s\r\n' % value)
            equal((answer.status, answer.body), (304, b''), value)
            equal(answer.headers['etag'], said, value)
            equal(answer.headers['cache-control'], 'private, no-cache')
            equal(answer.headers['vary'], 'Accept-Encoding')
            equal(answer.headers['x-cache'], 'hit')
            assert 'age' in answer.headers and 'content-length' not in answer.headers
            assert 'content-type' not in answer.headers
    for value in ('"x"', bare, '"%s-zstd"' % bare, tag + 'x'):
        answer = http.get('/cached/a?n=3000', headers=USER + 'If-None-Match: %s\r\n' % value)
        equal((answer.status, len(answer.body)), (200, 3000), value)
    equal(calls(fake), before)
    equal(fake.counters()['not_modified'], 12)
    # also of what an executor has answered, in one piece or in several
    for n in (3000, 300000):
        for value in ('"n-%d"' % n, 'W/"n-%d-gzip"' % n):
            answer = http.get('/bytes?n=%d' % n, headers='If-None-Match: %s\r\n' % value)
            equal((answer.status, answer.headers['etag'], answer.body), (304, value, b''))
        equal(len(http.get('/bytes?n=%d' % n, headers='If-None-Match: "n-1"\r\n').body), n)
    # an executor that says so does not know which coding the client has
    for value, said in (('"abc-gzip"', '"abc-gzip"'), ('"x", "abc"', '"abc"'), ('*', '"abc"')):
        answer = http.get('/unchanged', headers='If-None-Match: %s\r\n' % value)
        equal((answer.status, answer.headers['etag'], answer.headers['vary']),
              (304, said, 'Accept-Encoding'))
    http.close()


@test()
def what_the_edge_says_is_said_once(fake):
    """A handler's X-Cache and Age are not for clients: they would contradict."""
    http = Http(fake)
    lines = 'age%3A%207%0Ax-cache%3A%20of%20mine%0Avary%3A%20X-This%0A'
    for _ in range(3):
        http.request('/cached/a?lines=' + lines, headers=USER)
        http.answer()
    http.request('/cached/a?lines=' + lines, headers=USER)
    while b'\r\n\r\n' not in http.data:
        http.more()
    head = http.data.lower()
    equal((head.count(b'\r\nage: '), head.count(b'\r\nx-cache: '), head.count(b'\r\nage: 7')),
          (1, 1, 0))
    assert b'vary: x-this\r\n' in head and b'vary: accept-encoding\r\n' in head
    http.answer()
    http.close()


# ---- gathering -------------------------------------------------------------------------

@test(tls=True, executors=4)
def equal_requests_are_gathered(fake):
    known = Http(fake)
    fill(fake, known, '/cached/first')
    built = fake.executors()['built']
    clients = [Http(fake) for _ in range(30)]
    for client in clients:
        client.request('/cached/g?ms=300&n=3000', headers=USER)
    bodies = {client.answer().body for client in clients}
    equal(len(bodies), 1)
    equal(fake.executors()['built'], built + 1)
    equal(fake.counters()['gathered'], 29)
    for client in clients:
        client.close()
    known.close()


@test(executors=4)
def what_is_not_kept_is_not_shared(fake):
    known = Http(fake)
    fill(fake, known, '/cached/first')
    clients = [Http(fake) for _ in range(6)]
    for client in clients:
        client.request('/cached/g?ms=100&keep=0', headers=USER)
    answers = [client.answer() for client in clients]
    equal({answer.headers['x-cache'] for answer in answers}, {'bypass'})
    equal(fake.counters()['gathered'], 5, 'nobody waits twice')
    equal(len({answer.body for answer in answers}), 6)
    for client in clients:
        client.close()
    known.close()


@test(executors=4)
def the_one_that_asked_goes_away(fake):
    known = Http(fake)
    fill(fake, known, '/cached/first')
    before = calls(fake)
    clients = [Http(fake) for _ in range(5)]
    clients[0].request('/cached/g?ms=500', headers=USER)
    fake.until(lambda: calls(fake) == before + 1, 'its call')
    for client in clients[1:]:
        client.request('/cached/g?ms=500', headers=USER)
    fake.until(lambda: fake.counters()['gathered'] == 4, 'the others')
    clients[2].close()
    clients[0].close()
    for client in (clients[1], clients[3], clients[4]):
        equal(client.answer().status, 200)
        client.close()
    assert calls(fake) <= before + 2, calls(fake) - before
    known.close()


@test(executors=16)
def those_that_asked_go_away_one_after_the_other(fake):
    """Whoever leaves before each answer does not keep the others waiting for long."""
    known = Http(fake)
    fill(fake, known, '/cached/first')
    before = calls(fake)
    clients = [Http(fake) for _ in range(10)]
    for i, client in enumerate(clients):
        client.request('/cached/g?ms=3000', headers=USER)
        fake.until(lambda: calls(fake) == before + 1 and fake.counters()['gathered'] == i,
                   'in this order')
    clients[0].close()
    fake.until(lambda: calls(fake) == before + 2, 'the second makes another')
    clients[1].close()
    fake.until(lambda: calls(fake) == before + 10, 'all others make theirs', limit=2)
    for client in clients[2:]:
        equal(client.answer().status, 200)
        client.close()
    known.close()


@test(executors=1, acquire_timeout=1000)
def nobody_waits_for_others_for_long(fake):
    known = Http(fake)
    fill(fake, known, '/cached/first')
    clients = [Http(fake) for _ in range(4)]
    for client in clients:
        client.request('/cached/g?ms=1700', headers=USER)
    statuses = sorted(client.answer().status for client in clients)
    equal(statuses[0], 200)
    assert set(statuses) <= {200, 503}, statuses
    for client in clients:
        client.close()
    known.close()


# ---- compression -------------------------------------------------------------------------

@test(tls=True)
def codings(fake):
    http = Http(fake)
    plain = fill(fake, http, '/cached/c?n=9000')
    tag = plain.headers['etag'].strip('"')
    for accept, coding in (('gzip', 'gzip'), ('br', 'br'), ('deflate', 'deflate'),
                           ('gzip, deflate, br', 'br'), ('br;q=0.1, gzip', 'gzip'),
                           ('identity', None), ('gzip;q=0', None), ('*', 'br'),
                           ('gzip;;', None), ('identity;q=0', None)):
        for target in ('/cached/c?n=9000', '/bytes?n=9000'):
            answer = http.get(target, headers=USER + 'Accept-Encoding: %s\r\n' % accept)
            equal(answer.headers.get('content-encoding'), coding, target + ' ' + accept)
            equal(answer.headers['vary'], 'Accept-Encoding')
            equal(len(expand(answer)), 9000, accept)
            if target.startswith('/cached'):
                equal(expand(answer), plain.body)
                equal(answer.headers['etag'],
                      '"%s%s"' % (tag, '-' + coding if coding else ''), accept)
    http.close()


@test()
def what_is_not_compressed(fake):
    http = Http(fake)
    accept = USER + 'Accept-Encoding: gzip\r\n'
    answer = fill(fake, http, '/cached/s?n=1023', accept)
    equal((answer.headers.get('content-encoding'), answer.headers['vary']),
          (None, 'Accept-Encoding'), 'too small')
    answer = fill(fake, http, '/cached/s?n=1024', accept)
    equal(answer.headers['content-encoding'], 'gzip')
    answer = fill(fake, http, '/cached/s?n=5000&type=image/png', accept)
    assert 'vary' not in answer.headers and 'content-encoding' not in answer.headers
    answer = http.get('/bytes?n=300000', headers=accept)
    equal((answer.headers.get('content-encoding'), answer.headers['vary']),
          (None, 'Accept-Encoding'), 'too large to be compressed at once')
    equal(len(answer.body), 300000)
    fake.command('set codings 0')
    fake.until(lambda: 'vary' not in http.get('/bytes?n=5000', headers=accept).headers)
    equal(http.get('/cached/s?n=1024', headers=accept).headers.get('content-encoding'), None)
    http.close()


@test(compression_cache_size=64)
def variants_are_kept(fake):
    http = Http(fake)
    accept = USER + 'Accept-Encoding: gzip\r\n'
    for i in range(3):
        fill(fake, http, '/cached/v%d?n=9000' % i)
        first = http.get('/cached/v%d?n=9000' % i, headers=accept)
        compressed = fake.counters()['compressed']
        for _ in range(5):
            equal(http.get('/cached/v%d?n=9000' % i, headers=accept).body, first.body)
        equal(fake.counters()['compressed'], compressed, 'not once more')
    assert 0 < fake.counters()['variant_bytes'] < 65536
    # many more than the budget holds: each is right, and memory stays within it
    for i in range(300):
        target = '/cached/w%d?n=4000' % i
        plain = http.get(target, headers=USER).body
        equal(expand(http.get(target, headers=accept)), plain)
        assert fake.counters()['variant_bytes'] <= 65536
    http.close()


@test()
def variants_are_given_up(fake):
    http = Http(fake)
    accept = USER + 'Accept-Encoding: gzip\r\n'
    for setting, otherwise in (('compression_cache_size', 4096), ('codings', 2)):
        plain = fill(fake, http, '/cached/%s?n=9000' % setting).body
        equal(expand(http.get('/cached/%s?n=9000' % setting, headers=accept)), plain)
        assert fake.counters()['variant_bytes'] > 0
        fake.command('set %s 0' % setting)
        fake.until(lambda: fake.counters()['variant_bytes'] == 0, setting)
        fake.command('set %s %d' % (setting, otherwise))
    http.close()


@test(compression_cache_size=0)
def compressing_leaves_time_for_others(fake):
    """However often it is asked for: what is then not compressed goes out as it is."""
    fill(fake, Http(fake), '/cached/v?n=250000')
    clients = [Http(fake) for _ in range(8)]
    text = 'GET /cached/v?n=250000 HTTP/1.1\r\nHost: h\r\n%sAccept-Encoding: gzip\r\n\r\n' % USER
    codings = []
    while None not in codings and len(codings) < 8000:
        for client in clients:
            client.send(text * 100)
        codings += [client.answer().headers.get('content-encoding') for _ in range(100)
                    for client in clients]
    equal(set(codings), {'gzip', None})
    fake.until(lambda: clients[0].get('/cached/v?n=250000',
                                      headers=USER + 'Accept-Encoding: gzip\r\n')
               .headers.get('content-encoding') == 'gzip', 'there is time again')
    for client in clients:
        client.close()


@test(compression_cache_size=0)
def no_variant_is_kept(fake):
    http = Http(fake)
    accept = USER + 'Accept-Encoding: br\r\n'
    plain = fill(fake, http, '/cached/v?n=9000').body
    for _ in range(3):
        equal(expand(http.get('/cached/v?n=9000', headers=accept)), plain)
    equal(fake.counters()['variant_bytes'], 0)
    http.close()


@test()
def answers_made_here_are_plain(fake):
    for target in ('/livez', '/nowhere'):
        answer = once(fake, target, headers='Accept-Encoding: gzip\r\n')
        assert 'content-encoding' not in answer.headers
