/*
 * Preloaded into HAProxy: the longest CPU time between two polls of each thread, in nanoseconds, one number of
 * 64 bits for each thread, in the file that POLL_TIMES names. In between, a thread looks at no connection.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 256

static uint64_t *longest;
static int threads;
static __thread int slot = -1;
static __thread uint64_t polled;

static uint64_t cpu_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

__attribute__((constructor)) static void open_file(void)
{
	const char *name = getenv("POLL_TIMES");
	int file = name ? open(name, O_RDWR) : -1;
	void *place;

	if (file < 0)
		return;
	place = mmap(NULL, SLOTS * sizeof(*longest), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(file);
	if (place != MAP_FAILED)
		longest = place;
}

int epoll_wait(int fd, struct epoll_event *events, int size, int timeout)
{
	static int (*real)(int, struct epoll_event *, int, int);
	int count;

	if (!real)
		real = dlsym(RTLD_NEXT, "epoll_wait");
	if (longest && slot < 0)
		slot = __atomic_fetch_add(&threads, 1, __ATOMIC_RELAXED) % SLOTS;
	else if (longest && cpu_time() - polled > longest[slot])
		longest[slot] = cpu_time() - polled;
	count = real(fd, events, size, timeout);
	polled = cpu_time();
	return count;
}
