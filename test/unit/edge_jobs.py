"""Tests of t_edge.py: requests that wait for an event, and workers.

Jobs, queues and commands are those of fake_jobs.c.
"""
import json
import os
import signal
import time

from edge_client import Closed, Http, LIMIT, Ws, once

TESTS = []
CLAIM = '/api/v1/queues/q/claim?wait=20'
USER = 'Authorization: Bearer user-1\r\n'
JSON = USER + 'Content-Type: application/json\r\n'


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


def ask(fake, target, body=None, token='user-1', **more):
    """Begin a request: a POST when there is a body."""
    http = Http(fake)
    headers = 'Authorization: Bearer %s\r\n' % token
    if body is None:
        http.request(target, headers=headers, **more)
    else:
        http.request(target, method='POST', body=json.dumps(body).encode(),
                     headers=headers + 'Content-Type: application/json\r\n', **more)
    return http


def held(fake, n):
    fake.until(lambda: fake.counters()['held'] == n, '%d requests that wait' % n)


def queue(fake, name='q'):
    return {k: int(v) for k, v in
            (pair.split('=') for pair in fake.command('queue ' + name).split())}


def interest(fake, room):
    return fake.command('interest ' + room) == '1'


def done(answer, state='completed'):
    equal((answer.status, answer.json()['state']), (200, state))
    equal([name for name in answer.headers if name.startswith('penny-')], [], 'of the edge alone')
    return answer.json()


# ---- requests that wait ----------------------------------------------------------

@test(tls=True)
def until_an_event(fake):
    http = ask(fake, '/api/v1/jobs/5?wait=20')
    held(fake, 1)
    before = fake.counters()['calls']
    assert interest(fake, 'job:5')
    fake.command('end 6')
    equal(once(fake, '/echo').status, 200)
    equal(fake.counters()['calls'], before + 1, 'another job')
    fake.command('end 5')
    assert done(http.answer())['again']
    equal(fake.counters()['calls'], before + 2)
    held(fake, 0)
    assert not interest(fake, 'job:5')
    http.request('/api/v1/jobs/5?wait=20', headers=USER)
    assert not done(http.answer())['again'], 'at once'
    http.close()


@test()
def one_call_before_it_rests(fake):
    """The path tells the room, so that no second look is needed; else it is."""
    equal(once(fake, '/echo').status, 200)
    before = fake.counters()['calls']
    http = ask(fake, '/api/v1/jobs/5?wait=20')
    held(fake, 1)
    equal(once(fake, '/echo').status, 200)
    equal(fake.counters()['calls'], before + 2)
    other = ask(fake, '/waits?wait=20')
    held(fake, 2)
    fake.until(lambda: fake.counters()['calls'] == before + 4)
    assert interest(fake, 'thing')
    fake.command('thing 7')
    equal(other.answer().json(), {'thing': 7})
    http.close()
    other.close()


@test()
def until_the_time_is_over(fake):
    for wait, least in (('0.3', 0.3), ('1', 1.0), ('0.125', 0.1)):
        started = time.monotonic()
        http = ask(fake, '/api/v1/jobs/5?wait=' + wait)
        done(http.answer(), 'waiting')
        assert least <= time.monotonic() - started < least + 2, (wait, time.monotonic() - started)
        http.close()
    held(fake, 0)


@test()
def no_time_to_wait(fake):
    """What is no number of seconds is not waited for; the handler may refuse it."""
    for wait in ('', '?wait', '?wait=', '?wait=0', '?wait=61', '?wait=60.001', '?wait=x', '?wait=-1',
                 '?wait=.5', '?wait=5.', '?wait=1e1', '?wait=0.0001', '?wait=00000000001',
                 '?wait=4294967297', '?wai=5', '?other=wait=5'):
        started = time.monotonic()
        http = ask(fake, '/api/v1/jobs/5' + wait)
        done(http.answer(), 'waiting')
        assert time.monotonic() - started < 1, wait
        http.close()
    equal(fake.counters()['held'], 0)


@test()
def what_is_made_is_made_once(fake):
    http = ask(fake, '/api/v1/jobs?wait=20', body={'kind': 'x'})
    held(fake, 1)
    fake.until(lambda: interest(fake, 'job:1'))
    fake.command('resync')
    fake.command('end 1')
    answer = done(http.answer())
    equal((answer['method'], answer['again']), ('GET', True))
    equal(queue(fake)['made'], 1)
    http.close()
    short = ask(fake, '/api/v1/jobs?wait=0.2', body={'kind': 'x'})
    equal(done(short.answer(), 'waiting')['method'], 'GET', 'the last word')
    plain = ask(fake, '/api/v1/jobs', body={'kind': 'x'})
    answer = plain.answer()
    equal((answer.status, answer.headers['location']), (201, '/api/v1/jobs/3'))
    assert not [name for name in answer.headers if name.startswith('penny')]
    short.close()
    plain.close()


@test()
def nothing_is_missed_while_it_looks(fake):
    """The answer is older than the event that comes during the call."""
    http = ask(fake, CLAIM, body={'worker': 'slow'})
    fake.until(lambda: queue(fake)['claims'] == 1)
    fake.command('ready q 1')
    equal([job['id'] for job in http.answer().json()['data']], ['1'])
    http.close()


@test()
def nothing_is_missed_before_the_room_is_known(fake):
    """A change without an event, between the answer and the bit of its room."""
    fake.command('stop')
    http = ask(fake, '/waits?wait=20')
    fake.command('go')
    held(fake, 1)
    fake.until(lambda: fake.counters()['calls'] >= 3)
    fake.command('thing 1')
    equal(http.answer().json(), {'thing': 1})
    http.close()


@test(executors=3)
def one_of_many_looks(fake):
    workers = [ask(fake, CLAIM, body={'worker': 'w%d' % i}) for i in range(50)]
    held(fake, 50)
    before = queue(fake)['claims']
    fake.command('ready q 1')
    fake.until(lambda: fake.counters()['held'] == 49)
    equal(once(fake, '/echo').status, 200)
    fake.until(lambda: queue(fake)['claims'] == before + 2, 'two looks')
    fake.command('ready q 49')
    ids = sorted(int(job['id']) for http in workers for job in http.answer().json()['data'])
    equal(ids, list(range(1, 51)))
    assert queue(fake)['claims'] <= before + 53, queue(fake)
    for http in workers:
        http.close()


@test()
def whose_client_goes(fake):
    for round in range(3):
        clients = [ask(fake, '/api/v1/jobs/%d?wait=20' % (i % 3)) for i in range(12)]
        held(fake, 12)
        for http in clients:
            http.close()
        held(fake, 0)
        assert not interest(fake, 'job:0') and not interest(fake, 'job:1')


@test()
def claims_of_clients_that_go(fake):
    """What is claimed for nobody is given back, and the next one gets it."""
    http = ask(fake, '/api/v1/queues/q/claim', body={'n': 2, 'worker': 'slow'})
    fake.command('quiet q 2')
    fake.until(lambda: queue(fake)['claims'] == 1)
    empty = queue(fake)['claimed'] == 0
    http.close()
    if empty:  # it came before the jobs
        http = ask(fake, '/api/v1/queues/q/claim', body={'n': 2, 'worker': 'slow'})
        fake.until(lambda: queue(fake)['claimed'] == 2)
        http.close()
    fake.until(lambda: queue(fake)['released'] == 2)
    equal((queue(fake)['ready'], fake.executors()['cancelled']), (2, 0))
    # the same for one that has waited, whose look is under way
    first = ask(fake, '/api/v1/queues/other/claim?wait=20', body={'worker': 'slow'})
    held(fake, 1)
    second = ask(fake, '/api/v1/queues/other/claim?wait=20', body={'worker': 'slow'})
    held(fake, 2)
    fake.command('ready other 1')
    fake.until(lambda: queue(fake, 'other')['claimed'] == 1)
    first.close()
    fake.until(lambda: queue(fake)['released'] == 3)
    second.close()


@test()
def others_take_over(fake):
    """One that goes while it looks leaves its turn to the next."""
    first = ask(fake, CLAIM, body={'worker': 'slow'})
    held(fake, 1)
    second = ask(fake, CLAIM, body={'worker': 'slow'})
    held(fake, 2)
    before = queue(fake)['claims']
    fake.command('ready q 1')
    fake.until(lambda: queue(fake)['claims'] > before)
    first.close()
    equal(len(second.answer().json()['data']), 1)
    second.close()


@test()
def what_comes_behind_it(fake):
    http = ask(fake, '/api/v1/jobs/5?wait=20')
    held(fake, 1)
    http.request('/echo?n=2')
    http.request('/api/v1/jobs/6?wait=20', headers=USER)
    fake.command('end 5')
    done(http.answer())
    equal(http.answer().json()['target'], '/echo?n=2')
    held(fake, 1)
    fake.command('end 6')
    done(http.answer())
    http.close()


@test()
def events_for_everybody(fake):
    clients = [ask(fake, '/api/v1/jobs/%d?wait=20' % i) for i in range(40)]
    held(fake, 40)
    before = fake.counters()['calls']
    fake.command('resync')
    fake.until(lambda: fake.counters()['calls'] == before + 40, 'all look')
    held(fake, 40)
    for i, http in enumerate(clients):
        fake.command('end %d' % i)
        done(http.answer())
        http.close()
    held(fake, 0)


@test(events=16)
def events_that_are_lost(fake):
    http = ask(fake, '/api/v1/jobs/5?wait=20')
    ws = Ws(fake)
    ws.join('conversation:1')
    held(fake, 1)
    edge = int(fake.command('pid'))
    os.kill(edge, signal.SIGSTOP)
    fake.command('end 5')
    for i in range(100):
        fake.command('commit conversation:1 "x"')
    os.kill(edge, signal.SIGCONT)
    done(http.answer())
    http.close()
    ws.close()


@test()
def members_beside_it(fake):
    """A room with members, and one that waits for an event of it."""
    ws = Ws(fake)
    ws.join('queue:q')
    http = ask(fake, CLAIM, body={})
    held(fake, 1)
    fake.command('quiet q 1')
    fake.command('publish queue:q {"type":"jobs.ready"}')
    equal(len(http.answer().json()['data']), 1)
    equal(ws.hear()['event'], {'type': 'jobs.ready'})
    ws.say(type='leave', room='queue:q')
    equal(ws.hear()['type'], 'left')
    http.request(CLAIM, method='POST', headers=JSON, body=b'{}')
    held(fake, 1)
    fake.command('ready q 1')
    equal(len(http.answer().json()['data']), 1)
    assert not interest(fake, 'queue:q')
    http.close()
    ws.close()


@test()
def a_token_that_ends(fake):
    http = ask(fake, '/api/v1/jobs/5?wait=20', token='once-1')
    held(fake, 1)
    fake.command('end 5')
    equal(http.answer().status, 401)
    held(fake, 0)
    http.close()


@test()
def no_more_than_a_user_may(fake):
    clients = [ask(fake, '/api/v1/jobs/5?wait=30') for _ in range(512)]
    held(fake, 512)
    more = ask(fake, '/api/v1/jobs/5?wait=30')
    done(more.answer(), 'waiting')
    other = ask(fake, '/api/v1/jobs/5?wait=30', token='user-2')
    held(fake, 513)
    clients.pop().close()
    held(fake, 512)
    again = ask(fake, '/api/v1/jobs/5?wait=30')
    held(fake, 513)
    fake.command('end 5')
    for http in clients + [other, again]:
        done(http.answer())
    for http in clients + [other, again, more]:
        http.close()


@test()
def a_large_answer_does_not_wait(fake):
    fake.command('quiet q 1000')
    http = ask(fake, CLAIM, body={'n': 1000})
    equal(len(http.answer().json()['data']), 1000)
    http.request(CLAIM, method='POST', headers=JSON, body=b'{"n":1,"x":"%s"}' % (b'x' * 40000))
    equal(http.answer().json()['data'], [], 'too large to be kept')
    http.close()


@test(drain_timeout=5000)
def when_the_edge_stops(fake):
    rests = ask(fake, '/api/v1/jobs/5?wait=30')
    held(fake, 1)
    looks = ask(fake, CLAIM, body={'worker': 'slow'})
    fake.until(lambda: queue(fake)['claims'] == 1)
    started = time.monotonic()
    fake.process.stdin.write(b'term\n')
    fake.process.stdin.flush()
    answer = rests.answer()
    done(answer, 'waiting')
    equal(answer.headers['connection'], 'close')
    equal(looks.answer().json()['data'], [])
    equal(fake.line(), '0', 'exit status')
    assert time.monotonic() - started < 3
    for http in (rests, looks):
        assert http.closed()
        http.close()
    fake.command('start')


@test()
def when_the_edge_dies(fake):
    http = ask(fake, '/api/v1/jobs/5?wait=30')
    held(fake, 1)
    fake.command('kill')
    assert http.closed()
    http.close()
    held(fake, 0)
    assert not interest(fake, 'job:5')


# ---- workers by WebSocket ----------------------------------------------------------

@test(tls=True)
def a_worker(fake):
    ws = Ws(fake)
    equal(ws.ask(type='claim', ref=1, queue='q'), {'type': 'claimed', 'ref': 1, 'jobs': []})
    fake.command('ready q 3')
    got = ws.ask(type='claim', ref='b', queue='q', n=2, lease_ms=1000, worker='w')
    equal((got['type'], got['ref'], [job['id'] for job in got['jobs']]), ('claimed', 'b', ['1', '2']))
    jobs = [{'id': job['id'], 'token': job['token']} for job in got['jobs']]
    equal(ws.ask(type='extend', jobs=jobs, lease_ms=7),
          {'type': 'extended', 'extend': 2, 'lease': '7'})
    equal(ws.ask(type='complete', ref=2, jobs=[dict(jobs[0], result={'a': 1})]),
          {'type': 'completed', 'ref': 2, 'complete': 1, 'lease': ''})
    equal(ws.ask(type='fail', ref=3, jobs=[dict(jobs[1], error='no')], lease_ms=7),
          {'type': 'failed', 'ref': 3, 'fail': 1, 'lease': ''})
    equal(ws.ask(type='release', ref=4, jobs=jobs[1:])['type'], 'released')
    stale = ws.ask(type='complete', ref=5, jobs=[{'id': '1', 'token': '8'}])
    equal((stale['type'], stale['ref'], stale['code']), ('error', 5, 'PY409'))
    equal((queue(fake)['completed'], queue(fake)['released']), (1, 1))
    ws.close()


@test()
def a_worker_that_waits(fake):
    ws = Ws(fake)
    ws.say(type='claim', ref=1, queue='q', wait=20)
    held(fake, 1)
    equal(ws.ask(type='ping', ref=2), {'type': 'pong', 'ref': 2}, 'it is not waited for')
    equal(ws.ask(type='complete', ref=3, jobs=[])['type'], 'completed')
    fake.command('ready q 1')
    got = ws.hear()
    equal((got['type'], got['ref'], len(got['jobs'])), ('claimed', 1, 1))
    started = time.monotonic()
    equal(ws.ask(type='claim', ref=4, queue='q', wait=0.3)['jobs'], [])
    assert time.monotonic() - started >= 0.3
    ws.say(type='claim', ref=5, queue='q', wait=20)
    held(fake, 1)
    ws.close()
    held(fake, 0)
    assert not interest(fake, 'queue:q')


@test()
def names_of_queues(fake):
    ws = Ws(fake)
    for name in ('ü b/c', '..', 'a?wait=20', '%41', 'x' * 60):
        equal(ws.ask(type='claim', queue=name)['jobs'], [], name)
    ws.say(type='claim', queue='ü', wait=20)
    held(fake, 1)
    assert interest(fake, 'queue:ü')
    ws.close()


@test()
def what_cannot_be_done(fake):
    ws = Ws(fake)
    for frame in ({'type': 'claim'}, {'type': 'claim', 'queue': ''}, {'type': 'claim', 'queue': 1},
                  {'type': 'claim', 'queue': 'x' * 129}, {'type': 'claim', 'queue': 'q', 'wait': 61},
                  {'type': 'claim', 'queue': 'q', 'wait': '1'}, {'type': 'complete'},
                  {'type': 'fail', 'jobs': {}}, {'type': 'extend', 'jobs': 'x'},
                  {'type': 'release', 'jobs': None}):
        got = ws.ask(ref='r', **frame)
        equal((got['type'], got['code'], got['ref']), ('error', 'PY400', 'r'), frame)
    got = ws.ask(type='join', room='job:1', ref=1)
    equal((got['type'], got['code']), ('error', 'PY404'))
    for i in range(64):
        ws.say(type='claim', queue='q', ref=i, wait=20)
    held(fake, 64)
    got = ws.ask(type='claim', queue='q', ref='more')
    equal((got['code'], got['ref']), ('PY429', 'more'))
    fake.command('ready q 64')
    equal(sorted(ws.hear()['ref'] for _ in range(64)), list(range(64)))
    ws.send(ws.frame(1, b'{"type":"claim","queue":"q","queue":"q"}'))
    got = ws.hear()
    equal(got['code'], 'PY400')
    ws.close()


@test()
def jobs_of_a_worker_that_goes(fake):
    """Before its claim is answered: given back.  What it has said of others counts."""
    ws = Ws(fake)
    fake.command('quiet q 3')
    ws.say(type='claim', queue='q', n=3, worker='slow')
    fake.until(lambda: queue(fake)['claimed'] == 3)
    ws.close()
    fake.until(lambda: queue(fake)['released'] == 3)
    ws = Ws(fake)
    equal(len(ws.ask(type='claim', queue='q', n=3)['jobs']), 3)
    jobs = [{'id': str(n), 'token': str(7 * n)} for n in (4, 5, 6)]
    fake.command('stop')
    ws.say(type='complete', jobs=jobs)
    equal(ws.ask(type='ping'), {'type': 'pong'})
    ws.close()
    fake.until(lambda: fake.counters()['websockets'] == 0)
    fake.command('go')
    fake.until(lambda: queue(fake)['completed'] == 3)
    equal(queue(fake)['released'], 3)


@test(drain_timeout=5000)
def workers_when_the_edge_stops(fake):
    ws = Ws(fake)
    busy = Ws(fake)
    ws.say(type='claim', ref=1, queue='other', wait=30)
    held(fake, 1)
    fake.command('quiet q 1')
    busy.say(type='claim', ref=2, queue='q', worker='slow')
    fake.until(lambda: queue(fake)['claimed'] == 1)
    fake.process.stdin.write(b'term\n')
    fake.process.stdin.flush()
    equal(ws.hear(), {'type': 'claimed', 'ref': 1, 'jobs': []})
    equal(ws.end(), 1001)
    equal(len(busy.hear()['jobs']), 1)
    equal(busy.end(), 1001)
    equal(fake.line(), '0', 'exit status')
    ws.close()
    busy.close()
    fake.command('start')
