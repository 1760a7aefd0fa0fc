/*-------------------------------------------------------------------------
 *
 * webhook.c
 *		Which webhooks may be called: addresses, URLs, the list.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include "plane/webhook_url.h"

static PennyWebhookRules rules;

/* ---- addresses -------------------------------------------------------------- */

TEST(address_classes)
{
	static const struct
	{
		const char *text;
		PennyAddressClass class;
	} table[] = {
		{"8.8.8.8", PENNY_ADDRESS_PUBLIC},
		{"1.1.1.1", PENNY_ADDRESS_PUBLIC},
		{"9.255.255.255", PENNY_ADDRESS_PUBLIC},
		{"11.0.0.0", PENNY_ADDRESS_PUBLIC},
		{"100.63.255.255", PENNY_ADDRESS_PUBLIC},
		{"100.128.0.0", PENNY_ADDRESS_PUBLIC},
		{"126.255.255.255", PENNY_ADDRESS_PUBLIC},
		{"128.0.0.1", PENNY_ADDRESS_PUBLIC},
		{"168.63.129.15", PENNY_ADDRESS_PUBLIC},
		{"169.253.255.255", PENNY_ADDRESS_PUBLIC},
		{"169.255.0.0", PENNY_ADDRESS_PUBLIC},
		{"172.15.255.255", PENNY_ADDRESS_PUBLIC},
		{"172.32.0.0", PENNY_ADDRESS_PUBLIC},
		{"192.0.1.0", PENNY_ADDRESS_PUBLIC},
		{"192.167.255.255", PENNY_ADDRESS_PUBLIC},
		{"192.169.0.0", PENNY_ADDRESS_PUBLIC},
		{"198.17.255.255", PENNY_ADDRESS_PUBLIC},
		{"198.20.0.0", PENNY_ADDRESS_PUBLIC},
		{"223.255.255.255", PENNY_ADDRESS_PUBLIC},
		{"2606:4700::1111", PENNY_ADDRESS_PUBLIC},
		{"2001:200::1", PENNY_ADDRESS_PUBLIC},
		{"3ffe::1", PENNY_ADDRESS_PUBLIC},

		{"10.0.0.0", PENNY_ADDRESS_INTERNAL},
		{"10.255.255.255", PENNY_ADDRESS_INTERNAL},
		{"100.64.0.0", PENNY_ADDRESS_INTERNAL},
		{"100.100.100.200", PENNY_ADDRESS_INTERNAL},
		{"100.127.255.255", PENNY_ADDRESS_INTERNAL},
		{"127.0.0.1", PENNY_ADDRESS_INTERNAL},
		{"127.255.255.255", PENNY_ADDRESS_INTERNAL},
		{"168.63.129.16", PENNY_ADDRESS_INTERNAL},
		{"169.254.0.0", PENNY_ADDRESS_INTERNAL},
		{"169.254.169.254", PENNY_ADDRESS_INTERNAL},
		{"172.16.0.0", PENNY_ADDRESS_INTERNAL},
		{"172.31.255.255", PENNY_ADDRESS_INTERNAL},
		{"192.0.0.192", PENNY_ADDRESS_INTERNAL},
		{"192.168.0.0", PENNY_ADDRESS_INTERNAL},
		{"192.168.255.255", PENNY_ADDRESS_INTERNAL},
		{"198.18.0.0", PENNY_ADDRESS_INTERNAL},
		{"198.19.255.255", PENNY_ADDRESS_INTERNAL},
		{"::1", PENNY_ADDRESS_INTERNAL},
		{"fc00::", PENNY_ADDRESS_INTERNAL},
		{"fd00:ec2::254", PENNY_ADDRESS_INTERNAL},
		{"fe80::1", PENNY_ADDRESS_INTERNAL},
		{"febf::1", PENNY_ADDRESS_INTERNAL},

		{"0.0.0.0", PENNY_ADDRESS_NEVER},
		{"0.255.255.255", PENNY_ADDRESS_NEVER},
		{"192.0.2.1", PENNY_ADDRESS_NEVER},
		{"192.88.99.1", PENNY_ADDRESS_NEVER},
		{"198.51.100.1", PENNY_ADDRESS_NEVER},
		{"203.0.113.1", PENNY_ADDRESS_NEVER},
		{"224.0.0.1", PENNY_ADDRESS_NEVER},
		{"239.255.255.255", PENNY_ADDRESS_NEVER},
		{"240.0.0.1", PENNY_ADDRESS_NEVER},
		{"255.255.255.255", PENNY_ADDRESS_NEVER},
		{"::", PENNY_ADDRESS_NEVER},
		{"::2", PENNY_ADDRESS_NEVER},
		{"::127.0.0.1", PENNY_ADDRESS_NEVER},
		{"::ffff:127.0.0.1", PENNY_ADDRESS_NEVER},
		{"::ffff:8.8.8.8", PENNY_ADDRESS_NEVER},
		{"::ffff:0:127.0.0.1", PENNY_ADDRESS_NEVER},
		{"64:ff9b::7f00:1", PENNY_ADDRESS_NEVER},
		{"64:ff9b:1::a00:1", PENNY_ADDRESS_NEVER},
		{"100::1", PENNY_ADDRESS_NEVER},
		{"2001::1", PENNY_ADDRESS_NEVER},
		{"2001:0:7f00:1::", PENNY_ADDRESS_NEVER},
		{"2001:10::1", PENNY_ADDRESS_NEVER},
		{"2001:db8::1", PENNY_ADDRESS_NEVER},
		{"2002:7f00:1::1", PENNY_ADDRESS_NEVER},
		{"3fff::1", PENNY_ADDRESS_NEVER},
		{"4000::1", PENNY_ADDRESS_NEVER},
		{"5f00::1", PENNY_ADDRESS_NEVER},
		{"fec0::1", PENNY_ADDRESS_NEVER},
		{"ff02::1", PENNY_ADDRESS_NEVER},
	};
	PennyAddress address;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
	{
		CHECK_ROW(penny_address_parse(table[i].text, strlen(table[i].text), &address),
				  table[i].text);
		CHECK_ROW(penny_address_class(&address) == table[i].class, table[i].text);
	}
}

TEST(address_spellings)
{
	static const char *const bad[] = {"",
									  "1",
									  "127.1",
									  "127.0.1",
									  "127.0.0.1.",
									  "127.0.0.01",
									  "0177.0.0.1",
									  "0x7f.0.0.1",
									  "0x7f000001",
									  "2130706433",
									  "017700000001",
									  "127.0.0.256",
									  "127.0.0.-1",
									  " 127.0.0.1",
									  "127.0.0.1 ",
									  "127。0。0。1",
									  "fe80::1%lo",
									  "::1%1",
									  "[::1]",
									  ":::",
									  "1::2::3",
									  "12345::",
									  "::ffff:127.0.0.256",
									  "0000:0000:0000:0000:0000:0000:0000:0000:0001",
									  "0000000000000000000000000000000000000000000001"};
	PennyAddress address;
	char text[PENNY_ADDRESS_TEXT];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_ROW(!penny_address_parse(bad[i], strlen(bad[i]), &address), bad[i]);
	CHECK(!penny_address_parse("127.0.0.1\0x", 11, &address));
	CHECK(penny_address_parse("2606:4700:0:0:0:0:0:1111", 24, &address));
	penny_address_text(&address, text);
	CHECK(strcmp(text, "2606:4700::1111") == 0);
}

TEST(networks)
{
	static const char *const bad[] = {
		"10.0.0.0",      "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.1/8", "10.0.0.0/8x",
		"10.0.0.0/0008", "10/8",      "::1/127",     "fc00::/129",  "/8",         ""};
	PennyNetwork network;
	PennyAddress in;
	PennyAddress out;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_ROW(!penny_network_parse(bad[i], strlen(bad[i]), &network), bad[i]);
	CHECK(penny_network_parse("172.16.0.0/12", 13, &network));
	CHECK(penny_address_parse("172.31.255.255", 14, &in));
	CHECK(penny_address_parse("172.32.0.0", 10, &out));
	CHECK(penny_network_holds(&network, &in) && !penny_network_holds(&network, &out));
	CHECK(penny_network_parse("fd00:1::/33", 11, &network));
	CHECK(penny_address_parse("fd00:1:7fff::1", 14, &in));
	CHECK(penny_address_parse("fd00:1:8000::1", 14, &out));
	CHECK(penny_network_holds(&network, &in) && !penny_network_holds(&network, &out));
	CHECK(penny_network_parse("10.1.2.3/32", 11, &network));
	CHECK(penny_address_parse("10.1.2.3", 8, &in));
	CHECK(penny_network_holds(&network, &in));
}

/* ---- URLs -------------------------------------------------------------------- */

TEST(good_urls)
{
	static const struct
	{
		const char *text;
		const char *host;
		int port;
		const char *made; /* what is called */
	} table[] = {
		{"https://Example.COM", "example.com", 443, "https://example.com:443/"},
		{"HTTP://example.com/a?b=c", "example.com", 80, "http://example.com:80/a?b=c"},
		{"https://example.com?x", "example.com", 443, "https://example.com:443/?x"},
		{"https://example.com:8443/%20", "example.com", 8443, "https://example.com:8443/%20"},
		{"http://127.0.0.1:9000/x", "127.0.0.1", 9000, "http://127.0.0.1:9000/x"},
		{"https://[2606:4700:0::1111]/", "2606:4700::1111", 443, "https://[2606:4700::1111]:443/"},
		{"http://[::1]:80", "::1", 80, "http://[::1]:80/"},
		{"https://a-b.c_d.xn--p1ai/", "a-b.c_d.xn--p1ai", 443, "https://a-b.c_d.xn--p1ai:443/"},
		{"https://1a.example.c0m/", "1a.example.c0m", 443, "https://1a.example.c0m:443/"},
		{"https://localhost/@:80", "localhost", 443, "https://localhost:443/@:80"},
		{"https://h//evil.com/..", "h", 443, "https://h:443//evil.com/.."},
	};
	PennyWebhookUrl url;
	char made[PENNY_WEBHOOK_URL_MAX + 17];

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
	{
		CHECK_ROW(penny_webhook_url_parse(table[i].text, strlen(table[i].text), &url) == NULL,
				  table[i].text);
		CHECK_ROW(strcmp(url.host, table[i].host) == 0 && url.port == table[i].port, table[i].text);
		CHECK_ROW(penny_webhook_url_text(&url, made) == strlen(table[i].made), table[i].text);
		CHECK_ROW(strcmp(made, table[i].made) == 0, made);
	}
}

TEST(bad_urls)
{
	static const char *const table[] = {
		"",
		"example.com",
		"//example.com",
		"ftp://example.com",
		"file:///etc/passwd",
		"gopher://127.0.0.1:6379/_x",
		"dict://127.0.0.1/",
		"unix:///run/x",
		"http:example.com",
		"http:/example.com",
		"http://",
		"http:///path",
		"http://:80/",
		"http://user@example.com/",
		"http://user:pw@example.com/",
		"http://allowed.example@127.0.0.1/",
		"http://127.0.0.1\\@allowed.example/",
		"http://allowed.example\\@127.0.0.1/",
		"http://allowed.example#@127.0.0.1/",
		"http://allowed.example#",
		"http://example.com:0/",
		"http://example.com:/",
		"http://example.com:65536/",
		"http://example.com:080/",
		"http://example.com:80a/",
		"http://example.com:8 0/",
		"http://example.com: 80/",
		"http://example.com:80:80/",
		"http://exa mple.com/",
		"http://example.com/a b",
		"http://example.com/\r\nX: y",
		"http://example.com/\n",
		"http://example.com/\x7f",
		"http://ex\xc3\xa4mple.com/",
		"http://example.com/\xc3\xa4",
		"http://example..com/",
		"http://.example.com/",
		"http://example.com./",
		"http://-a.com/",
		"http://a-.com/",
		"http://a.com-/",
		"http://%65xample.com/",
		"http://exam%00ple.com/",
		"http://*.example.com/",
		"http://127.1/",
		"http://127.0.1/",
		"http://0x7f.0.0.1/",
		"http://0x7f000001/",
		"http://0X7F000001/",
		"http://2130706433/",
		"http://017700000001/",
		"http://0177.0.0.1/",
		"http://127.0.0.1.1/",
		"http://127.0.0.256/",
		"http://1.2.3.0x4/",
		"http://a.1/",
		"http://[::1/",
		"http://[]/",
		"http://[::1]x/",
		"http://[::1]80/",
		"http://[fe80::1%25lo]/",
		"http://[fe80::1%lo]/",
		"http://[127.0.0.1]/",
		"http://[example.com]/",
		"http://::1/",
		"http://[::1]:99999/",
		"http://\"x\"/",
		"http://x/{a}",
		"http://x/a|b",
		"http://x/^",
		"http://x/`",
	};
	PennyWebhookUrl url;
	char text[PENNY_WEBHOOK_URL_MAX + 2];

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		CHECK_ROW(penny_webhook_url_parse(table[i], strlen(table[i]), &url) != NULL, table[i]);
	CHECK(penny_webhook_url_parse("http://a\0b/", 11, &url) != NULL);

	/* limits are exact */
	memset(text, 'a', sizeof(text));
	memcpy(text, "https://h/", 10);
	CHECK(penny_webhook_url_parse(text, PENNY_WEBHOOK_URL_MAX, &url) == NULL);
	CHECK(penny_webhook_url_parse(text, PENNY_WEBHOOK_URL_MAX + 1, &url) != NULL);
	memcpy(text, "https://", 8);
	memset(text + 8, 'a', 64);
	CHECK(penny_webhook_url_parse(text, 8 + 63, &url) == NULL);
	CHECK(penny_webhook_url_parse(text, 8 + 64, &url) != NULL);
}

/* ---- the list ------------------------------------------------------------------ */

static bool
take(const char *list)
{
	const char *entry;
	size_t len;

	return penny_webhook_rules_parse(list, &rules, &entry, &len) == NULL;
}

/* Is the URL permitted at the address? */
static bool
permits(const char *text, const char *at)
{
	PennyWebhookUrl url;
	PennyAddress address;

	return penny_webhook_url_parse(text, strlen(text), &url) == NULL &&
		   penny_address_parse(at, strlen(at), &address) &&
		   penny_webhook_permits_url(&rules, &url) &&
		   penny_webhook_permits_address(&rules, &url, &address);
}

TEST(lists)
{
	static const struct
	{
		const char *list;
		const char *url;
		const char *at;
		bool permitted;
	} table[] = {
		{"", "https://example.com/", "8.8.8.8", false},
		{"example.com", "https://example.com/", "8.8.8.8", true},
		{"example.com", "https://EXAMPLE.com:443/x", "8.8.8.8", true},
		{"Example.COM", "https://example.com/", "2606:4700::1111", true},
		{"example.com", "https://example.com:444/", "8.8.8.8", false},
		{"example.com", "http://example.com/", "8.8.8.8", false},
		{"example.com", "http://example.com:443/", "8.8.8.8", false},
		{"example.com", "https://www.example.com/", "8.8.8.8", false},
		{"example.com", "https://example.com.evil.net/", "8.8.8.8", false},
		{"example.com", "https://evilexample.com/", "8.8.8.8", false},
		{"example.com", "https://example.com/", "127.0.0.1", false},
		{"example.com", "https://example.com/", "10.1.2.3", false},
		{"example.com", "https://example.com/", "169.254.169.254", false},
		{"example.com", "https://example.com/", "::1", false},
		{"example.com", "https://example.com/", "::ffff:8.8.8.8", false},
		{"example.com", "https://example.com/", "64:ff9b::808:808", false},
		{"http://example.com", "http://example.com/", "8.8.8.8", true},
		{"http://example.com", "https://example.com/", "8.8.8.8", false},
		{"https://example.com:8443", "https://example.com:8443/", "8.8.8.8", true},
		{"http://example.com:8080, example.com", "http://example.com:8080/", "8.8.8.8", true},
		{"http://example.com:8080, example.com", "https://example.com/", "8.8.8.8", true},
		{"http://example.com:8080, example.com", "https://example.com:8080/", "8.8.8.8", false},
		{"*.example.com", "https://a.example.com/", "8.8.8.8", true},
		{"*.example.com", "https://a.b.example.com/", "8.8.8.8", true},
		{"*.example.com", "https://example.com/", "8.8.8.8", false},
		{"*.example.com", "https://aexample.com/", "8.8.8.8", false},
		{"*.example.com:8443", "https://a.example.com:8443/", "8.8.8.8", true},
		{"*.example.com:8443", "https://a.example.com/", "8.8.8.8", false},
		{"*", "https://anything.net/", "8.8.8.8", true},
		{"*", "http://anything.net/", "8.8.8.8", false},
		{"*", "https://anything.net/", "192.168.1.1", false},
		{"*", "https://8.8.8.8/", "8.8.8.8", false},
		{"*", "https://127.0.0.1/", "127.0.0.1", false},
		{"*:8443", "https://anything.net:8443/", "8.8.8.8", true},
		{"127.0.0.1:9000", "http://127.0.0.1:9000/", "127.0.0.1", true},
		{"127.0.0.1:9000", "https://127.0.0.1:9000/", "127.0.0.1", true},
		{"127.0.0.1:9000", "http://127.0.0.1:9001/", "127.0.0.1", false},
		{"127.0.0.1:9000", "http://127.0.0.1/", "127.0.0.1", false},
		{"127.0.0.1:9000", "http://127.0.0.2:9000/", "127.0.0.2", false},
		{"127.0.0.1:9000", "http://localhost:9000/", "127.0.0.1", false},
		{"127.0.0.1:9000", "http://127.0.0.1:9000/", "127.0.0.2", false},
		{"https://127.0.0.1:9000", "http://127.0.0.1:9000/", "127.0.0.1", false},
		{"127.0.0.1", "http://127.0.0.1/", "127.0.0.1", true},
		{"127.0.0.1", "https://127.0.0.1/", "127.0.0.1", true},
		{"[::1]:9000", "http://[0::1]:9000/", "::1", true},
		{"[::1]:9000", "http://127.0.0.1:9000/", "127.0.0.1", false},
		{"8.8.8.8", "https://8.8.8.8/", "8.8.8.8", true},
		{"hooks.lan=10.1.0.0/16", "http://hooks.lan/", "10.1.2.3", true},
		{"hooks.lan=10.1.0.0/16", "https://hooks.lan/", "10.1.2.3", true},
		{"hooks.lan=10.1.0.0/16", "http://hooks.lan/", "10.2.2.3", false},
		{"hooks.lan=10.1.0.0/16", "http://hooks.lan/", "8.8.8.8", false},
		{"hooks.lan=10.1.0.0/16", "http://hooks.lan/", "169.254.169.254", false},
		{"hooks.lan=10.1.0.0/16, hooks.lan", "https://hooks.lan/", "8.8.8.8", true},
		{"hooks.lan=10.1.0.0/16, hooks.lan", "https://hooks.lan/", "10.1.2.3", true},
		{"hooks.lan=10.1.0.0/16, hooks.lan", "http://hooks.lan/", "8.8.8.8", false},
		{"hooks.lan:81=10.1.0.0/16,hooks.lan:81=10.3.0.0/16", "http://hooks.lan:81/", "10.3.0.1",
		 true},
		{"*.lan:8080=fd00::/8", "http://a.lan:8080/", "fd00::1", true},
		{"*.lan:8080=fd00::/8", "http://a.lan:8080/", "fe80::1", false},
		{"localhost:9000=127.0.0.0/8", "http://localhost:9000/", "127.0.0.1", true},
		{"localhost:9000=127.0.0.0/8", "http://localhost:9000/", "::1", false},
		{"meta=169.254.169.254/32", "http://meta/", "169.254.169.254", true},
		{"x=0.0.0.0/8", "http://x/", "0.0.0.0", false},
	};
	char row[256];

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
	{
		snprintf(row, sizeof(row), "'%s' %s %s", table[i].list, table[i].url, table[i].at);
		CHECK_ROW(take(table[i].list), row);
		CHECK_ROW(permits(table[i].url, table[i].at) == table[i].permitted, row);
	}
}

TEST(bad_lists)
{
	static const char *const table[] = {
		",",
		"a,,b",
		"a,",
		" , a",
		"a b",
		"ftp://a",
		"a:0",
		"a:65536",
		"a:",
		"a:*",
		"a/path",
		"http://a/",
		"user@a",
		"a.*",
		"*a.com",
		"**",
		"*.*.com",
		"*.",
		"*.10.0.0.1",
		"127.1",
		"0x7f.0.0.1",
		"::1",
		"[::1",
		"10.0.0.0/8",
		"0.0.0.0",
		"0.0.0.0:80",
		"255.255.255.255",
		"224.0.0.1",
		"[::]",
		"[::ffff:127.0.0.1]",
		"[64:ff9b::7f00:1]",
		"a=",
		"a=10.0.0.0",
		"a=10.0.0.1/8",
		"a=0.0.0.0/0",
		"a=0.0.0.0/7",
		"a=::/0",
		"*=10.0.0.0/8",
		"10.0.0.1=10.0.0.0/8",
		"=10.0.0.0/8",
		"a=10.0.0.0/8:80",
		"a;b",
		"\xc3\xa4.com",
	};
	char list[PENNY_WEBHOOK_LIST_MAX + 2];
	const char *entry;
	size_t len;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		CHECK_ROW(!take(table[i]), table[i]);
	CHECK(penny_webhook_rules_parse("ok.com, bad_:0 , x", &rules, &entry, &len) != NULL);
	CHECK(len == 6 && memcmp(entry, "bad_:0", 6) == 0);
	CHECK(take("  a \t,\n b  ") && rules.n == 2 && strcmp(rules.rule[1].host, "b") == 0);

	list[0] = '\0';
	for (int i = 0; i < PENNY_WEBHOOK_RULES_MAX; i++)
		strcat(list, i == 0 ? "h" : ",h");
	CHECK(take(list) && rules.n == PENNY_WEBHOOK_RULES_MAX);
	strcat(list, ",h");
	CHECK(!take(list));
	memset(list, ' ', sizeof(list) - 1);
	list[sizeof(list) - 1] = '\0';
	CHECK(!take(list));
}

int
main(void)
{
	RUN(address_classes);
	RUN(address_spellings);
	RUN(networks);
	RUN(good_urls);
	RUN(bad_urls);
	RUN(lists);
	RUN(bad_lists);
	return unit_done();
}
