/* Changes behind the cache's back: where a revision drops too little, old bytes come back. */
#include "cases.h"

enum { PAGES = 64 };

static uint32_t hazard(struct result *result, uint64_t inode, uint32_t change, const char *what)
{
	struct seen seen = { 0 };
	struct reply reply;
	uint64_t stored = 0;

	REQUIRE(!put_pages(inode, 0, PAGES, &stored) && stored == PAGES, "put: %lu stored: %s", stored, reply_text());
	RING(&reply, OP_CHANGE, change, inode, 0, PAGES);
	REQUIRE(!reply.status, "%s: %s", what, reply_text());
	bool expected = reply.values[1];

	/* from here on every byte that was put is an old byte */
	REQUIRE(!get_pages(inode, 0, PAGES, &seen), "get: %s", reply_text());
	result->bytes = PAGES * PAGE;
	if (!expected) {
		REQUIRE(!seen.hits, "%lu of %u old pages came back after a %s", seen.hits, PAGES, what);
		SAY("after a %s no old page comes back", what);
		return OUTCOME_PASSED;
	}
	REQUIRE(seen.hits == PAGES && !seen.stale, "expected %u old pages after a %s, saw %lu, %lu of them damaged", PAGES,
		what, seen.hits, seen.stale);
	RING(&reply, OP_STALE, seen.hits);
	SAY("as expected of this revision: %lu of %u old pages came back after a %s", seen.hits, PAGES, what);
	return OUTCOME_PASSED;
}

uint32_t case_hazard_truncate(struct result *result)
{
	return hazard(result, 5300, CHANGE_TRUNCATE, "truncate");
}

uint32_t case_hazard_direct_write(struct result *result)
{
	return hazard(result, 5400, CHANGE_DIRECT_WRITE, "direct write");
}

uint32_t case_hazard_large_folio(struct result *result)
{
	return hazard(result, 5500, CHANGE_LARGE_FOLIO, "large folio");
}
