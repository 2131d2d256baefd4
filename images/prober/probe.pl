# The prober of `flagops doctor isolation`: what a player with a shell in a container would try.
#
#   probe.pl serve PORT              answers each connection with one line
#   probe.pl try ID=KIND:WHAT ...    tries all at once; a line for each: ID, `reached` or `blocked`, why
#
# Kinds: tcp:ADDRESS:PORT, udp:ADDRESS:PORT, link:PORT (the gateway's link-local IPv6 address),
# socket:NAME, call:NAME (a system call), write:PATH, kernel:VERSION (reached when it is this one). A refused connection counts as reached: somebody
# was there to refuse it. Names and answers are read by `planner::isolation` of flagops.
use strict;
use warnings;
use Errno qw(:POSIX);
use POSIX ();
use Socket;

my $SECONDS = 2;

# Linux's numbers, for x86-64 and for aarch64.
my %CALLS = (
    mount => [165, 40], umount2 => [166, 39], pivot_root => [155, 41], setns => [308, 268],
    unshare => [272, 97], clone => [56, 220], clone3 => [435, 435], bpf => [321, 280],
    keyctl => [250, 219], add_key => [248, 217], request_key => [249, 218],
    perf_event_open => [298, 241], userfaultfd => [323, 282], io_uring_setup => [425, 425],
    kexec_load => [246, 104], init_module => [175, 105], delete_module => [176, 106],
    open_by_handle_at => [304, 265], ptrace => [101, 117], mknodat => [259, 33],
    fsopen => [430, 430], open_tree => [428, 428], clock_settime => [227, 112],
    syslog => [103, 116], swapon => [167, 224], reboot => [169, 142], acct => [163, 89],
);
my $ARM = (POSIX::uname())[4] =~ /^(aarch64|arm64)/ ? 1 : 0;

sub call {
    my ($name, @arguments) = @_;
    my $numbers = $CALLS{$name} or die "no system call $name\n";
    $! = 0;
    # Perl passes numbers as numbers and texts as pointers.
    return syscall($numbers->[$ARM], @arguments);
}

my $NEW_USER = 0x10000000;
my $ZEROS = "\0" x 256;
my %ARGUMENTS = (
    mount => sub { call('mount', 'none', '/tmp', 'tmpfs', 0, 0) },
    umount2 => sub { call('umount2', '/tmp', 0) },
    pivot_root => sub { call('pivot_root', '/', '/') },
    setns => sub {
        open(my $own, '<', '/proc/self/ns/user') or return -1;
        call('setns', fileno($own), $NEW_USER);
    },
    unshare => sub { call('unshare', $NEW_USER) },
    # Without a stack of its own the child goes on here, as after a fork; signal 17 tells of its end.
    clone => sub { child_of(call('clone', $NEW_USER | 17, 0, 0, 0, 0)) },
    clone3 => sub {
        my $wanted = pack('Q8', $NEW_USER, 0, 0, 0, 17, 0, 0, 0);
        child_of(call('clone3', $wanted, 64));
    },
    bpf => sub { my $map = pack('L4', 2, 4, 4, 1) . $ZEROS; call('bpf', 0, $map, 72) },
    keyctl => sub { call('keyctl', 0, -3, 0) },
    add_key => sub { call('add_key', 'user', 'flagops', 'x', 1, -2) },
    request_key => sub { call('request_key', 'user', 'flagops', 0, 0) },
    perf_event_open => sub {
        # A software event of this very process: the least that there is.
        my $event = pack('L2Q', 1, 64, 0) . $ZEROS;
        call('perf_event_open', $event, 0, -1, -1, 0);
    },
    userfaultfd => sub { call('userfaultfd', 1) },
    io_uring_setup => sub { my $ring = $ZEROS; call('io_uring_setup', 1, $ring) },
    kexec_load => sub { call('kexec_load', 0, 0, 0, 0) },
    init_module => sub { call('init_module', $ZEROS, 0, '') },
    delete_module => sub { call('delete_module', 'flagops', 0) },
    open_by_handle_at => sub { my $handle = $ZEROS; call('open_by_handle_at', -100, $handle, 0) },
    ptrace => sub { call('ptrace', 0, 0, 0, 0) },
    mknodat => sub { call('mknodat', -100, "/tmp/disk$$", 060600, 0x0801) },
    fsopen => sub { call('fsopen', 'tmpfs', 0) },
    open_tree => sub { call('open_tree', -100, '/tmp', 1) },
    clock_settime => sub { my $time = pack('q2', time(), 0); call('clock_settime', 0, $time) },
    syslog => sub { my $text = $ZEROS; call('syslog', 3, $text, 64) },
    swapon => sub { call('swapon', '/tmp', 0) },
    reboot => sub { call('reboot', 0, 0, 0, 0) },
    acct => sub { call('acct', 0) },
);

sub child_of {
    my ($pid) = @_;
    POSIX::_exit(0) if $pid == 0;
    return $pid;
}

my %SOCKETS = (
    raw => sub { socket(my $s, 2, 3, 1) },
    packet => sub { socket(my $s, 17, 3, 0x0300) },
    alg => sub { socket(my $s, 38, 5, 0) },
    vsock => sub { socket(my $s, 40, 1, 0) },
    netlink_audit => sub { socket(my $s, 16, 3, 9) },
    netlink_netfilter => sub { socket(my $s, 16, 3, 12) },
    netlink_route => sub { socket(my $s, 16, 3, 0) },
    # Sending with an address that is not one's own: IP_TRANSPARENT.
    foreign_source => sub { my $s; socket($s, 2, 1, 0) && setsockopt($s, 0, 19, 1) },
);

# Whether `$done` works, in a child: some of it would change this process. The child's exit code is the
# error number.
sub attempt {
    my ($done) = @_;
    my $pid = fork();
    die "no child\n" unless defined $pid;
    if ($pid == 0) {
        $! = 0;
        my $result = $done->();
        my $error = $! + 0;
        my $worked = defined $result && $result ne '' && $result != -1;
        POSIX::_exit($worked ? 0 : $error || 255);
    }
    waitpid($pid, 0);
    return ('blocked', 'it was killed') if $? & 127;
    my $error = $? >> 8;
    return ('reached', 'it works') if $error == 0;
    $! = $error;
    # What the kernel refuses, or does not have. Any other error is about the arguments: it was let in.
    my @refusals = (EPERM, EACCES, ENOSYS, EROFS, EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT, ENODEV, ENOENT);
    return ((grep { $_ == $error } @refusals) ? 'blocked' : 'reached', lc "$!");
}

# The link-local address of the gateway, as its interface derives it from its hardware address.
sub link_address {
    my ($gateway) = map { join '.', reverse map { hex } /../g }
        map { (split)[2] } grep { (split)[1] eq '00000000' } lines('/proc/net/route');
    return undef unless $gateway;
    my ($hardware) = map { (split)[3] } grep { (split)[0] eq $gateway } lines('/proc/net/arp');
    return undef unless $hardware;
    my @bytes = map { hex } split /:/, $hardware;
    return pack('C*', 0xfe, 0x80, (0) x 6, $bytes[0] ^ 2, @bytes[1, 2], 0xff, 0xfe, @bytes[3 .. 5]);
}

sub lines {
    open(my $file, '<', $_[0]) or return ();
    return <$file>;
}

# Opens a connection without waiting for it: the socket, and what came of it at once.
sub dial {
    my ($family, $type, $address) = @_;
    socket(my $s, $family, $type, 0) or return (undef, 'blocked', lc "$!");
    fcntl($s, 4, 2048);
    return ($s, 'pending') if connect($s, $address) || $! == EINPROGRESS;
    return (undef, $! == ECONNREFUSED ? 'reached' : 'blocked', lc "$!");
}

sub begin {
    my ($kind, @what) = @_;
    if ($kind eq 'tcp' || $kind eq 'udp') {
        my $address = pack_sockaddr_in($what[1], inet_aton($what[0]));
        return dial(2, $kind eq 'tcp' ? 1 : 2, $address);
    }
    if ($kind eq 'link') {
        my $address = link_address() or return (undef, 'blocked', 'no gateway is known');
        my ($index) = map { 0 + $_ } lines('/sys/class/net/eth0/ifindex');
        return dial(10, 1, pack_sockaddr_in6($what[0], $address, $index || 0, 0));
    }
    if ($kind eq 'socket') {
        return (undef, attempt($SOCKETS{$what[0]} || die "no socket $what[0]\n"));
    }
    if ($kind eq 'call') {
        return (undef, attempt($ARGUMENTS{$what[0]} || die "no call $what[0]\n"));
    }
    if ($kind eq 'write') {
        return (undef, attempt(sub { open(my $file, '>>', $what[0]) }));
    }
    if ($kind eq 'kernel') {
        my $own = (POSIX::uname())[2];
        return (undef, $own eq join(':', @what) ? 'reached' : 'blocked', "it is $own");
    }
    die "no kind $kind\n";
}

sub try {
    my (@order, %result, %open);
    for my $word (@_) {
        my ($id, $rest) = split /=/, $word, 2;
        my ($kind, @what) = split /:/, $rest;
        push @order, $id;
        my ($s, $seen, $why) = eval { begin($kind, @what) };
        ($seen, $why) = ('unknown', $@) if $@;
        if ($s) { $open{$id} = [$s, $kind] } else { $result{$id} = [$seen, $why] }
    }
    send($_->[0], "flagops\n", 0) for grep { $_->[1] eq 'udp' } values %open;
    my $end = time() + $SECONDS + 1;
    while (%open && time() < $end) {
        my ($read, $write) = ('', '');
        for my $entry (values %open) {
            vec($entry->[1] eq 'udp' ? $read : $write, fileno($entry->[0]), 1) = 1;
        }
        select($read, $write, undef, 0.25);
        for my $id (keys %open) {
            my ($s, $kind) = @{$open{$id}};
            next unless vec($kind eq 'udp' ? $read : $write, fileno($s), 1);
            my $error = unpack('i', getsockopt($s, SOL_SOCKET, SO_ERROR));
            $! = $error;
            my $is_there = $error == 0 || $error == ECONNREFUSED;
            $result{$id} = [$is_there ? 'reached' : 'blocked', $error ? lc "$!" : 'it answers'];
            delete $open{$id};
        }
    }
    $result{$_} = ['blocked', 'no answer'] for keys %open;
    for my $id (@order) {
        my ($seen, $why) = @{$result{$id}};
        $why =~ s/\s+/ /g;
        printf "%s %s %s\n", $id, $seen, $why;
    }
}

sub serve {
    my ($port) = @_;
    socket(my $listener, 2, 1, 0) or die "socket: $!\n";
    setsockopt($listener, SOL_SOCKET, SO_REUSEADDR, 1);
    bind($listener, pack_sockaddr_in($port, INADDR_ANY)) or die "bind: $!\n";
    listen($listener, 64) or die "listen: $!\n";
    while (1) {
        accept(my $player, $listener) or next;
        syswrite($player, "flagops prober\n");
        close($player);
    }
}

my $verb = shift @ARGV || '';
if ($verb eq 'serve') { serve(@ARGV) }
elsif ($verb eq 'try') { try(@ARGV) }
else { die "usage: probe.pl serve PORT | probe.pl try ID=KIND:WHAT ...\n" }
