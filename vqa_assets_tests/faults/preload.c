/* A preload library that lets the Nth system call below one folder fail, end the process, or be cut by the power.

   It counts the calls of one class (renames, fsyncs, opens, writes, unlinks, reads) that touch a file below the folder
   it is armed for, in the process that armed it and in its forks, and does at the Nth what it was told. While a shadow
   folder is given it keeps there, by inode, what each file held when it was last synced: what a power cut would leave.
   It can also hold or shift the clock.

   How it is armed from Python is in preload.py. Nothing here knows what is tested. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SHADOW_MAX (PATH_MAX + 64)
enum { RENAME, FSYNC, OPEN, WRITE, UNLINK, READ, CLASSES };

static char root[PATH_MAX], shadow[PATH_MAX];
static size_t root_length;
static int target = -1, error_number, sticky, tripped, victim;
static long nth, counts[CLASSES];
static int64_t clock_held, clock_shift;

/* ---- what Python calls ---- */

void faults_arm(const char *folder, int class, long number, int error, int stays, const char *shadow_folder) {
    memset(counts, 0, sizeof counts);
    target = class; nth = number; error_number = error; sticky = stays; tripped = 0;
    snprintf(shadow, sizeof shadow, "%s", shadow_folder);
    snprintf(root, sizeof root, "%s", folder);
    root_length = strlen(root);
}

/* Whom a kill meets: another process, while this one goes on; 0 is this one. */
void faults_victim(int process) { victim = process; }
void faults_disarm(void) { root_length = 0; shadow[0] = 0; }
long faults_count(int class) { return __atomic_load_n(&counts[class], __ATOMIC_SEQ_CST); }
int faults_tripped(void) { return tripped; }
void faults_clock(int64_t held_at_s, int64_t shifted_by_s) { clock_held = held_at_s; clock_shift = shifted_by_s; }

/* ---- which file a call touches ---- */

static int descriptor_path(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlink, link, path, (size_t)PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return 1;
}

static int below_root(const char *path) {
    return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0);
}

static int touches(int folder, const char *path) {
    char whole[2 * PATH_MAX + 2];
    if (!root_length || !path) return 0;
    if (path[0] == '/') return below_root(path);
    if (folder == AT_FDCWD) {
        if (syscall(SYS_getcwd, whole, (size_t)PATH_MAX) <= 0) return 0;
    } else if (!descriptor_path(folder, whole)) {
        return 0;
    }
    size_t length = strlen(whole);
    snprintf(whole + length, PATH_MAX, "/%s", path);
    return below_root(whole);
}

static int touches_descriptor(int fd) {
    char path[PATH_MAX];
    return root_length && descriptor_path(fd, path) && below_root(path);
}

/* ---- what happens at the Nth call: 0 lets it pass, else the error it gets; a kill comes back only for a write ---- */

#define KILL (-1)
static void die(void) { syscall(SYS_kill, syscall(SYS_getpid), SIGKILL); for (;;) syscall(SYS_pause); }

static int met(int class) {
    long count = __atomic_add_fetch(&counts[class], 1, __ATOMIC_SEQ_CST);
    if (tripped && sticky && class == target) return error_number;
    /* A full disk refuses new bytes wherever they come from, and still lets files be renamed and removed. */
    if (tripped && sticky && error_number == ENOSPC && (class == WRITE || class == OPEN)) return error_number;
    if (class != target || count != nth) return 0;
    tripped = 1;
    if (error_number != KILL) return error_number;
    if (victim) { syscall(SYS_kill, victim, SIGKILL); return 0; }
    if (class != WRITE) die();
    return KILL;
}

#define REFUSE(class) do { int code = met(class); if (code > 0) { errno = code; return -1; } } while (0)

/* ---- what the disk would hold after a power cut ---- */

static void shadow_path(const struct stat *file, char *path) {
    snprintf(path, SHADOW_MAX, "%s/%lu-%lu", shadow, (unsigned long)file->st_dev, (unsigned long)file->st_ino);
}

static void copy_to_shadow(int fd, int empty) {
    struct stat file;
    char path[SHADOW_MAX], piece[65536], source[64];
    int saved = errno;
    if (shadow[0] && fstat(fd, &file) == 0 && S_ISREG(file.st_mode)) {
        shadow_path(&file, path);
        int out = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (!empty) {
            /* Opened anew: the descriptor may be one that is only written to. */
            snprintf(source, sizeof source, "/proc/self/fd/%d", fd);
            int in = syscall(SYS_openat, AT_FDCWD, source, O_RDONLY, 0);
            long length;
            while (in >= 0 && (length = syscall(SYS_read, in, piece, sizeof piece)) > 0)
                syscall(SYS_write, out, piece, length);
            if (in >= 0) syscall(SYS_close, in);
        }
        if (out >= 0) syscall(SYS_close, out);
    }
    errno = saved;
}

/* Before a file is first changed, what it holds is what the disk holds. */
static void keep_before(int folder, const char *path, int flags, int *created) {
    struct stat file;
    char kept[SHADOW_MAX];
    *created = 0;
    if (!shadow[0] || (flags & O_ACCMODE) == O_RDONLY) return;
    if (fstatat(folder, path, &file, 0) != 0) { *created = (flags & O_CREAT) != 0; return; }
    if (!S_ISREG(file.st_mode)) return;
    shadow_path(&file, kept);
    if (syscall(SYS_faccessat, AT_FDCWD, kept, F_OK) == 0) return;
    int fd = syscall(SYS_openat, folder, path, O_RDONLY, 0);
    if (fd >= 0) { copy_to_shadow(fd, 0); syscall(SYS_close, fd); }
}

/* ---- the calls ---- */

static int opened(int folder, const char *path, int flags, mode_t mode) {
    int counted = touches(folder, path) && !(flags & (O_DIRECTORY | O_PATH)), created = 0;
    if (counted) { REFUSE(OPEN); keep_before(folder, path, flags, &created); }
    int fd = syscall(SYS_openat, folder, path, flags, mode);
    if (fd >= 0 && created) copy_to_shadow(fd, 1);
    return fd;
}

#define MODE mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE return opened(folder, path, flags, mode); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

/* C's own streams open by calls inside the C library, which no preload library sees: they go through ours. */
static FILE *stream(const char *path, const char *mode) {
    int flags = strchr(mode, '+') ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY;
    if (mode[0] == 'w') flags |= O_CREAT | O_TRUNC;
    if (mode[0] == 'a') flags |= O_CREAT | O_APPEND;
    if (strchr(mode, 'e')) flags |= O_CLOEXEC;
    int fd = opened(AT_FDCWD, path, flags, 0666);
    return fd < 0 ? NULL : fdopen(fd, mode);
}
static FILE *next_fopen(const char *name, const char *path, const char *mode) {
    FILE *(*next)(const char *, const char *) = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, name);
    return next(path, mode);
}
FILE *fopen(const char *path, const char *mode) {
    return touches(AT_FDCWD, path) ? stream(path, mode) : next_fopen("fopen", path, mode);
}
FILE *fopen64(const char *path, const char *mode) {
    return touches(AT_FDCWD, path) ? stream(path, mode) : next_fopen("fopen64", path, mode);
}

/* A kill at a write comes when half of its bytes are there. */
#define WRITTEN(fd, whole, half) do { \
    if (touches_descriptor(fd)) { \
        int code = met(WRITE); \
        if (code == KILL) { half; die(); } \
        if (code > 0) { errno = code; return -1; } \
    } \
    return whole; } while (0)
ssize_t write(int fd, const void *bytes, size_t n) {
    WRITTEN(fd, syscall(SYS_write, fd, bytes, n), syscall(SYS_write, fd, bytes, n / 2));
}
ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at) {
    WRITTEN(fd, syscall(SYS_pwrite64, fd, bytes, n, at), syscall(SYS_pwrite64, fd, bytes, n / 2, at));
}
ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at) { return pwrite(fd, bytes, n, at); }
ssize_t writev(int fd, const struct iovec *parts, int n) {
    WRITTEN(fd, syscall(SYS_writev, fd, parts, n), syscall(SYS_write, fd, parts[0].iov_base, parts[0].iov_len / 2));
}
ssize_t sendfile(int out, int in, off_t *at, size_t n) {
    WRITTEN(out, syscall(SYS_sendfile, out, in, at, n), syscall(SYS_sendfile, out, in, at, n / 2));
}
ssize_t sendfile64(int out, int in, off64_t *at, size_t n) { return sendfile(out, in, at, n); }
ssize_t copy_file_range(int in, off64_t *at, int out, off64_t *to, size_t n, unsigned flags) {
    WRITTEN(out, syscall(SYS_copy_file_range, in, at, out, to, n, flags),
            syscall(SYS_copy_file_range, in, at, out, to, n / 2, flags));
}
int ftruncate(int fd, off_t n) { WRITTEN(fd, syscall(SYS_ftruncate, fd, n), (void)0); }
int ftruncate64(int fd, off64_t n) { return ftruncate(fd, n); }

/* No disk is waited for below the folder: a kill loses nothing of what was written, and a power cut is the shadow's. */
#define SYNCED(fd, call) do { \
    if (!touches_descriptor(fd)) return call; \
    REFUSE(FSYNC); \
    copy_to_shadow(fd, 0); \
    return 0; } while (0)
int fsync(int fd) { SYNCED(fd, syscall(SYS_fsync, fd)); }
int fdatasync(int fd) { SYNCED(fd, syscall(SYS_fdatasync, fd)); }

#define RENAMED(from_folder, from, to_folder, to, call) do { \
    if (touches(from_folder, from) || touches(to_folder, to)) REFUSE(RENAME); \
    return call; } while (0)
int rename(const char *from, const char *to) {
    RENAMED(AT_FDCWD, from, AT_FDCWD, to, syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
int renameat(int f, const char *from, int t, const char *to) {
    RENAMED(f, from, t, to, syscall(SYS_renameat2, f, from, t, to, 0));
}
int renameat2(int f, const char *from, int t, const char *to, unsigned flags) {
    RENAMED(f, from, t, to, syscall(SYS_renameat2, f, from, t, to, flags));
}
int link(const char *from, const char *to) {
    RENAMED(AT_FDCWD, from, AT_FDCWD, to, syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0));
}
int linkat(int f, const char *from, int t, const char *to, int flags) {
    RENAMED(f, from, t, to, syscall(SYS_linkat, f, from, t, to, flags));
}

int unlink(const char *path) {
    if (touches(AT_FDCWD, path)) REFUSE(UNLINK);
    return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
int unlinkat(int folder, const char *path, int flags) {
    if (touches(folder, path)) REFUSE(UNLINK);
    return syscall(SYS_unlinkat, folder, path, flags);
}

ssize_t read(int fd, void *bytes, size_t n) {
    if (touches_descriptor(fd)) REFUSE(READ);
    return syscall(SYS_read, fd, bytes, n);
}
ssize_t pread(int fd, void *bytes, size_t n, off_t at) {
    if (touches_descriptor(fd)) REFUSE(READ);
    return syscall(SYS_pread64, fd, bytes, n, at);
}
ssize_t pread64(int fd, void *bytes, size_t n, off64_t at) { return pread(fd, bytes, n, at); }

/* ---- the clock ---- */

static int is_real(clockid_t which) { return which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE; }

int clock_gettime(clockid_t which, struct timespec *now) {
    int status = syscall(SYS_clock_gettime, which, now);
    if (status == 0 && is_real(which)) {
        if (clock_held) { now->tv_sec = clock_held; now->tv_nsec = 0; }
        now->tv_sec += clock_shift;
    }
    return status;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *into) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (into) *into = exact.tv_sec;
    return exact.tv_sec;
}
