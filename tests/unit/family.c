/* Whether another process of the family holds a socket: yes from the moment of the fork, before the child has run at all. */
#include "family.h"

#include "process.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int ask[2], answer[2], held;

static void done(void)
{
	char c = 0;

	cr_assert(write(answer[1], &c, 1) == 1);
}

static void next(int *from)
{
	char c;

	if (read(from[0], &c, 1) != 1)
		_exit(1);
}

/* The child of a fork that has not come as far as family_in_child, until it is told to. */
static pid_t begin(void)
{
	cr_assert(!pipe(ask) && !pipe(answer));
	held = socket(AF_INET, SOCK_STREAM, 0);
	process_note();
	family_before_fork();
	pid_t pid = fork();
	if (pid)
		return pid;
	next(ask);
	process_note();
	family_in_child();
	done();
	next(ask);
	close(held);
	done();
	next(ask);
	_exit(0);
}

static void step(void)
{
	cr_assert(write(ask[1], "", 1) == 1);
	next(answer);
}

Test(family, a_child_holds_what_its_parent_holds_before_it_has_run)
{
	cr_expect(family_holds_too(0), "nothing is known before the first fork");
	pid_t pid = begin();
	cr_expect(family_holds_too(held), "not there yet");
	step();
	cr_expect(family_holds_too(held), "there");
	step();
	cr_expect_not(family_holds_too(held), "it has closed it");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	cr_expect_not(family_holds_too(held));
}

Test(family, one_that_is_killed_before_leaves_it_unsure)
{
	pid_t pid = begin();

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	cr_expect(family_holds_too(held));
}
