/*-------------------------------------------------------------------------
 *
 * http_waiting.c
 *		HTTP requests whose answer is kept until there is more to say.
 *
 * What is kept, for whom, and how long: waiting.h.  A request in state WAIT has
 * no call; what its client sends meanwhile is kept as during a call (http.c).
 * One that goes away is forgotten at once.  When the edge is to stop, the answer
 * at hand goes out; that of a call that runs is the last.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/waiting.h"

#include "edge/gather.h"
#include "edge/http.h"

static bool
ask(void *owner, PennyCallOut *out)
{
	return penny_http_call_again(owner, out);
}

static void
give(void *owner, const PennyAnswer *answer)
{
	PennyHttp *http = owner;
	PennyWaiting *waiting = http->waiting;

	http->waiting = NULL;
	penny_http_take_answer(http, answer);
	penny_waiting_close(waiting); /* the answer was its */
}

void
penny_http_waiting_begin(PennyHttp *http, const PennyCallOut *out)
{
	static const PennyWaitingCallbacks callbacks = {.ask = ask, .give = give};

	http->waiting = penny_waiting_open(&callbacks, http, out, 0);
	if (http->waiting != NULL)
		penny_waiting_asks(http->waiting);
}

bool
penny_http_waiting_keep(PennyHttp *http, const PennyAnswer *answer)
{
	if (http->waiting == NULL)
		return false;
	if (!penny_waiting_keep(http->waiting, http->call, answer))
	{
		penny_http_waiting_end(http);
		return false;
	}
	http->call = NULL;
	http->state = PENNY_HTTP_WAIT;
	penny_gather_end(http); /* who waited for this answer asks itself */
	return true;
}

void
penny_http_waiting_end(PennyHttp *http)
{
	penny_waiting_close(http->waiting);
	http->waiting = NULL;
}

bool
penny_http_waiting_give(PennyHttp *http)
{
	if (!penny_waiting_rests(http->waiting))
		return false;
	penny_waiting_give(http->waiting);
	return true;
}
