/*===- harness.h - Checks and programs of the C interface's test
 * ------------===*/

#ifndef OMNIMOE_TEST_CAPI_HARNESS_H
#define OMNIMOE_TEST_CAPI_HARNESS_H

#include "omnimoe-c/omnimoe.h"

extern int failures;

/* Counts and prints a condition that does not hold; goes on. */
void check(int holds, const char *condition, const char *file, int line);
#define CHECK(condition) check(!!(condition), #condition, __FILE__, __LINE__)

/* Checks a status, and that the message of a failure holds `text`. */
void expect(OmniMoeStatus got, OmniMoeStatus expected, const char *text,
            const char *file, int line);
#define OK(call) expect(call, OMNIMOE_OK, "", __FILE__, __LINE__)
#define FAILS(call, status, text) expect(call, status, text, __FILE__, __LINE__)

/* Experts of width 1: D = 32, N = 16, K = 4. */
enum { HIDDEN = 32, EXPERTS = 16, TOP_K = 4 };
extern const char *const expertsIR;

/* Compiles `ir` with default options; ends the test if that fails. */
OmniMoeExecutable *compileOrDie(const char *ir);

/* Whether the information of an executable says that it was cached. */
int isCached(const OmniMoeExecutable *executable);

void testCompile(const char *directory);
void testInvoke(void);
void testGPU(void);

#endif
