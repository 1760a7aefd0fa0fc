/*
 * Defaults of the sanitizers for a sanitized penny-edge: it is started without
 * an environment, and its sandbox lets no leak checker trace it.
 */
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *
__asan_default_options(void)
{
	return "detect_leaks=0:abort_on_error=1:handle_segv=1";
}

const char *
__ubsan_default_options(void)
{
	return "print_stacktrace=1";
}
