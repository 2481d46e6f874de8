/**
 * All counters of the program: one declaration, one registry.
 *
 *   COUNTERS ─► CounterName      the type: a name that is not declared here doesn't compile
 *   count()  ──┐
 *   sources ───┴─► snapshot()    every counter with its value: the log's lists, `status`, metrics
 *
 * Names follow Prometheus: a name with `_total` is a counter, which only grows; a name without it
 * is a gauge, a current number. The unit comes before `_total` (`_bytes_total`).
 *
 * Parts that count every frame do so in plain fields, which are read only when a snapshot is taken
 * (`addSource`). Users rely on the names (docs/architecture.md, Limits).
 */

/** By part, and within a part from normal events to faults. */
export const COUNTERS = {
  // flow/, policy/
  tunnel_flows_opened_total: 'connections that the far side accepted',
  tunnel_flows_refused_total: 'connections that the far side refused or that could not be made',
  tunnel_flows_given_up_total: 'connections that the application gave up while they were made',
  tunnel_flows_denied_total: 'connections that are against the rules of this run',
  tunnel_flows_over_limit_total: 'connections put off or refused because MAX_FLOWS were open',
  tunnel_refusals_forgotten_total: 'refusals that tunnel status shows no more, for newer ones',
  tunnel_report_destinations_forgotten_total: 'destinations that the report counts no more',
  tunnel_sent_bytes_total: 'bytes carried to far sides, of connections that have ended',
  tunnel_received_bytes_total: 'bytes carried from far sides, of connections that have ended',
  tunnel_allowlist_denied_total: 'connections that no rule of --allow permits',
  tunnel_allowlist_forgotten_total: 'denied destinations forgotten for newer ones',
  tunnel_allowlist_unlearned_total: 'destinations that --dry-run could not note: too many',

  // capture/tun/
  tunnel_tcp_flows_waiting: 'captured connections that now wait for the far side',
  tunnel_tcp_flows_live: 'captured connections that are now open',
  tunnel_tcp_flows_held_total: 'captured connections: SYNs that were held for the far side',
  tunnel_tcp_flows_opened_total: 'captured connections that were answered with a SYN-ACK',
  tunnel_tcp_flows_refused_total: 'captured connections that were answered with a refusal',
  tunnel_tcp_flows_given_up_total: 'captured connections given up before they were answered',
  tunnel_tcp_flows_timed_out_total: 'answered connections whose application stopped answering',
  tunnel_tcp_flows_deferred_total: 'captured connections put off because of a limit',
  tunnel_tcp_frames_received_total: 'frames read from the device',
  tunnel_tcp_frames_sent_total: 'frames written for connections',
  tunnel_tcp_frames_lost_total: 'frames that the device did not take; TCP sends them again',
  tunnel_tcp_sent_bytes_total: 'payload written to applications, what was sent again included',
  tunnel_tcp_answered_reset_total: 'frames answered with a reset',
  tunnel_tcp_answered_unreachable_total: 'frames answered with "host or network unreachable"',
  tunnel_tcp_answered_prohibited_total: 'frames answered with "administratively prohibited"',
  tunnel_tcp_answered_port_unreachable_total: 'datagrams answered with "port unreachable"',
  tunnel_tcp_dropped_malformed_total: 'frames dropped because they are malformed',
  tunnel_tcp_dropped_fragments_total: 'fragments dropped',
  tunnel_tcp_dropped_multicast_total: 'frames to multicast and broadcast addresses dropped',
  tunnel_tcp_dropped_unanswerable_total: 'frames dropped that nobody may answer',
  tunnel_tcp_dropped_retransmits_total: 'SYNs that came again while the first one was held',
  tunnel_tcp_dropped_long_syns_total: 'SYNs dropped because of their length',
  tunnel_tcp_dropped_strangers_total: 'SYNs of unknown sources dropped while frames waited',
  tunnel_tcp_dropped_held_limit_total:
    'SYNs dropped or forgotten because MAX_HELD connections waited',
  tunnel_tcp_dropped_waiting_limit_total: 'segments dropped because MAX_WAITING_BYTES waited',
  tunnel_tcp_forgotten_time_waits_total: 'ended connections forgotten early, for MAX_TIME_WAIT',
  tunnel_tcp_forgotten_half_open_total: 'connections given up for MAX_HALF_OPEN',
  tunnel_tcp_forgotten_sources_total: 'sources that are strangers again, for MAX_KNOWN',
  tunnel_tcp_too_big_total: 'notices that a packet was too large for its path',

  // what is captured (session/captureguard.ts)
  tunnel_capture_overridden_total: 'routes of others that were overridden, as they were captured',
  tunnel_capture_diverted_total: 'ways past the tunnel that --allow-diverted permitted',
  tunnel_capture_samples_over_limit_total: 'checks of the capture that had too much to look at',

  // session/reload.ts
  tunnel_reloads_total: 'times that the command line was read again and applied',
  tunnel_reload_failures_total: 'reloads that failed and changed nothing',
  tunnel_reload_kept_over_limit_total: 'looks at former targets with too many live connections',

  // capture/namespace/
  tunnel_datagram_associations_total: 'UDP associations opened past the tunnel',
  tunnel_datagram_associations_over_limit_total: 'UDP associations ended for newer ones',
  tunnel_datagram_associations_idle_total: 'UDP associations ended because nothing was said',
  tunnel_datagrams_sent_total: 'datagrams sent past the tunnel',
  tunnel_datagrams_received_total: 'datagrams received past the tunnel',
  tunnel_datagrams_denied_total: 'datagrams that are against the rules of this run',
  tunnel_datagrams_dropped_total: 'datagrams dropped because they could not be sent',

  // capture/forward/
  tunnel_forward_connections_total:
    'clients of fixed forwards (-L, LocalForward) that were admitted',
  tunnel_forward_over_limit_total: 'clients of a forward that were reset: too many were connected',
  tunnel_forward_clients_vanished_total: 'clients of forwards that no longer answered the kernel',
  tunnel_forward_listen_failures_total: 'forwards whose port or socket could not be listened on',

  // capture/proxy/
  tunnel_proxy_requests_total: 'requests of proxy clients',
  tunnel_proxy_given_up_total: 'proxy clients that left before their request was complete',
  tunnel_proxy_over_limit_total: 'proxy clients closed or refused because too many were connected',
  tunnel_proxy_clients_vanished_total: 'proxy clients that no longer answered the kernel',
  tunnel_proxy_negotiation_timeouts_total: 'proxy clients that made no complete request in time',
  tunnel_proxy_header_limit_total: 'HTTP requests with too large a head',
  tunnel_proxy_pipeline_limit_total: 'HTTP requests that came too early behind others',
  tunnel_proxy_authentication_failures_total: 'proxy clients without the right credentials',
  tunnel_proxy_guesses_over_limit_total:
    'passwords of proxy clients not looked at, after wrong ones of the same host',
  tunnel_proxy_other_users_total: 'proxy clients that run as another user of this machine',
  tunnel_proxy_pac_total: 'proxy configurations that browsers were sent',
  tunnel_proxy_pac_refused_total: 'requests for it that a web page may have made',
  tunnel_proxy_pac_too_large_total: 'requests for it where it is too large for browsers',
  tunnel_proxy_unsupported_total: 'SOCKS requests of a kind that is not offered',
  tunnel_proxy_protocol_errors_total: 'proxy clients that spoke neither SOCKS nor HTTP properly',
  tunnel_accept_errors_total: 'proxy clients that the system could not accept',

  // connect/
  tunnel_other_forms_total: 'destinations tried by name instead of address, or the reverse',
  tunnel_other_forms_excluded_total: 'other forms of a destination that a rule forbids',
  tunnel_other_forms_over_limit_total: 'destinations with more other forms than are tried',
  tunnel_other_forms_forgotten_total: 'working forms of destinations forgotten for newer ones',

  // control/
  tunnel_control_clients_total: 'times that somebody has asked this tunnel for its status',
  tunnel_askpass_limit_total: 'questions of ssh that were too many at a time, or too long',
  tunnel_control_over_limit_total: 'of these, those turned away because too many had asked',
  tunnel_control_notices_over_limit_total:
    'notices not shown to the caller of reconnect or reload: too many had come',
  tunnel_control_timeouts_total: 'of these, those that asked nothing or read no answer in time',

  // metrics/
  tunnel_metrics_requests_total: 'requests for metrics',
  tunnel_metrics_over_limit_total:
    'clients of --metrics turned away because too many were connected',
  tunnel_metrics_timeouts_total: 'clients of --metrics that asked nothing or read nothing in time',
  tunnel_metrics_bad_requests_total:
    'requests to --metrics that were malformed, or for other things',
  tunnel_metrics_targets_other_total: 'flows counted as of target "other", for there are too many',

  // link/
  tunnel_links_lost_total: 'times that the connection to the jump host was lost',
  tunnel_idle_disconnects_total: 'times that it was closed because nothing used it',
  tunnel_redials_total: 'attempts to connect to the jump host again, or on demand',
  tunnel_online_waits_total:
    'dials at the start that found no way to the jump host (--wait-online)',
  tunnel_logins_waited_for_total: 'refused logins that are tried again (--wait-auth)',
  tunnel_redial_failures_total: 'of these, attempts that failed',
  tunnel_probes_total: 'times that the jump host was asked for a sign of life',
  tunnel_probes_failed_total: 'of these, times that none came',
  tunnel_held_total: 'connections that waited for a link',
  tunnel_hold_timeouts_total: 'connections refused because no link came in time',
  tunnel_hold_limit_total: 'connections refused because too many waited for a link',
  tunnel_opens_delayed_total: 'connections that waited for a place to be opened in',
  tunnel_opens_over_limit_total: 'connections turned away because too many waited to be opened',
  tunnel_opens_wait_timeouts_total: 'connections that got no place to be opened in within a minute',
  tunnel_opens_given_up_total: 'connections given up while the jump host was asked to open them',
  tunnel_opens_looks_again_total: 'repeated looks for the owner of a connection that waits',
  tunnel_opens_unknown_total: 'connections that waited and whose owner was never found',
  tunnel_opens_stalls_total: 'times that connections waited because others got no answer',
  tunnel_opens_server_short_total: 'connections put off because the jump host had no descriptors',
  tunnel_opens_markers_total: 'opens that only ask how far the jump host has got with its lookups',
  tunnel_opens_answered_forgotten_total: 'destinations forgotten that had answered lately',
  tunnel_opens_known_prohibited_total: 'connections refused because one just was prohibited',
  tunnel_opens_prohibited_forgotten_total: 'prohibited destinations forgotten for newer ones',

  // ssh/
  tunnel_channel_limit_total: 'connections refused because MAX_CHANNELS were open',
  tunnel_window_budget_total: 'times that --window-budget kept a channel from more',
  tunnel_flushes_total: 'flushes asked of a server that holds back what is small',
  tunnel_flush_limit_total: 'flushes left out because the server had not answered others',
  tunnel_unanswering_links_total: 'links to servers that answered no keepalive',
  tunnel_unanswered_limit_total: 'links whose server was asked no more, for it answered nothing',
  tunnel_ssh_backlog_limit_total: 'links given up because the server read nothing more',
  tunnel_ssh_exchange_time_limit_total: 'links given up because a key exchange did not end',
  tunnel_ssh_exchange_queue_limit_total:
    'links given up because too much waited for a key exchange',
  tunnel_ssh_exchange_storm_limit_total:
    'links given up because the server exchanged keys again and again',
  tunnel_ssh_violations_total: 'breaches of the rules of SSH channels by the server',
  tunnel_ssh_config_jumps_refused_total: 'ProxyJumps of ssh_config with more than MAX_JUMP_HOPS',
  tunnel_open_reason_missing_total: 'refusals of which ssh did not say the reason',
  tunnel_forwarding_prohibited_total: 'warnings that the server may prohibit all forwarding',
  tunnel_dns_passed_on_total: 'queries passed on to another tunnel, which answers for the name',
  tunnel_hosts_file_names_total: 'names of the tunnel that /etc/hosts leads past it',
  tunnel_promises_doubtful_total:
    'warnings that something on this machine is in the way of a tunnel',
  tunnel_dial_slow_total: 'slow dials of an address given up for others that waited',
  tunnel_server_text_cut_total: 'texts of servers cut because they were too long for one login',
  tunnel_auth_questions_limit_total: 'logins ended because the server asked too much',
  tunnel_start_limit_total: 'starts of ssh given up after an hour, while it may have been asking',
  tunnel_auth_stages_limit_total: 'logins ended because the server wanted more again and again',
  tunnel_host_keys_unchecked_total:
    'host keys refused because what is said against them could not be read',
  tunnel_known_hosts_malformed_total: 'lines of known_hosts that are malformed',
  tunnel_known_hosts_unwritable_total: 'accepted host keys that could not be written down',
  tunnel_proxy_lines_dropped_total: 'lines of a ProxyCommand that were left out',

  // dns/
  tunnel_dns_queries_total: 'queries that the tunnel was asked',
  tunnel_dns_queries_waiting: 'queries that now wait for a resolver',
  tunnel_dns_failures_total: 'queries answered with SERVFAIL because no resolver answered',
  tunnel_dns_faults_total: 'queries that were malformed or of a kind that is not supported',
  tunnel_dns_dropped_total: 'messages to the DNS server that are not queries; not answered',
  tunnel_dns_over_limit_total: 'queries answered with SERVFAIL because too many waited',
  tunnel_dns_unchecked_total: 'names whose existence behind the jump host could not be checked',
  tunnel_dns_streams_over_limit_total: 'connections for queries refused for MAX_QUERY_STREAMS',
  tunnel_dns_streams_given_up_total: 'connections for queries that the client ended early',
  tunnel_dns_cache_hits_total: 'queries answered from the cache',
  tunnel_dns_cache_evictions_total: 'cached answers removed because the cache was full',
  tunnel_dns_upstream_queries_total: 'queries to resolvers behind the jump host',
  tunnel_dns_upstream_failures_total: 'queries that no resolver behind the jump host answered',
  tunnel_dns_upstream_retries_total: 'queries sent again because a connection had closed',
  tunnel_dns_choices_again_total: 'times that all resolvers were tried again, as none answered',
  tunnel_dns_upstream_over_limit_total: 'queries refused because too many were on their way',
  tunnel_dns_local_queries_total: "queries to this machine's own resolvers",
  tunnel_dns_bad_answers_total: 'answers of resolvers that fit no query or are malformed',
  tunnel_dns_rebinding_refused_total:
    'answers refused for an address of this machine or its tunnels',
  tunnel_dns_known_over_limit_total: 'addresses whose names were forgotten for newer ones',
  tunnel_dns_leases_total: 'virtual addresses given to names',
  tunnel_dns_leases_reclaimed_total: 'virtual addresses taken back from names',
  tunnel_dns_leases_exhausted_total: 'names that got no virtual address because none was left',
  tunnel_dns_unknown_addresses_total: 'connections to virtual addresses that have no name',
  tunnel_dns_resolvers_over_limit_total: 'captured resolvers given up for newer ones',
  tunnel_dns_settings_restored_total: 'times that settings of systemd-resolved were put back',

  // openstack/
  tunnel_openstack_requests_total: 'requests to Keystone',
  tunnel_openstack_answers_too_long_total: 'answers of Keystone that were too long',
  tunnel_openstack_versions_left_out_total: 'documents of versions that were not asked for',

  // system/, observe/
  tunnel_socket_owners_over_limit_total:
    'sockets whose user or process was not looked for, as too many were asked for',
  tunnel_socket_questions_failed_total:
    'questions whose a socket is that the kernel did not answer; its tables are read',
  tunnel_recovered_total: 'changes of an earlier run that were undone',
  tunnel_flow_log_records_total: 'records written to the flow log',
  tunnel_flow_log_records_waiting: 'records that now wait to be written to the flow log',
  tunnel_flow_log_missing_total: 'records left out because the flow log could not be written',
  tunnel_pcap_lost_total: 'packets that are missing in the file of --pcap',
  tunnel_log_dropped_total:
    'messages left out because standard error or the system log was blocked',
} as const satisfies Readonly<Record<`tunnel_${string}`, string>>;

export type CounterName = keyof typeof COUNTERS;

/** The unit in a counter's name; '' for a plain number. */
export type CounterUnit = 'bytes' | '';

export interface CounterValue {
  readonly name: CounterName;
  readonly help: string;
  readonly unit: CounterUnit;
  readonly value: number;
}

/** Reads the counters that a part keeps in its own fields. */
export type CounterSource = () => Iterable<readonly [name: CounterName, value: number]>;

const NAMES = Object.keys(COUNTERS) as readonly CounterName[];

function unitOf(name: CounterName): CounterUnit {
  return /_bytes(_total)?$/.test(name) ? 'bytes' : '';
}

export class Counters {
  readonly #values = new Map<CounterName, number>();
  readonly #sources: CounterSource[] = [];

  count(name: CounterName, n = 1): void {
    this.#values.set(name, (this.#values.get(name) ?? 0) + n);
  }

  /** Adds what `source` reads to each snapshot. Values with the same name are added up. */
  addSource(source: CounterSource): void {
    this.#sources.push(source);
  }

  /** All counters in the order of their declaration, including those that are zero. */
  snapshot(): CounterValue[] {
    const values = new Map(this.#values);
    for (const source of this.#sources) {
      for (const [name, value] of source()) values.set(name, (values.get(name) ?? 0) + value);
    }
    return NAMES.map((name) => ({
      name,
      help: COUNTERS[name],
      unit: unitOf(name),
      value: values.get(name) ?? 0,
    }));
  }
}

/** How many names of counters that are zero go on one line. */
const ZEROS_IN_A_LINE = 3;

/**
 * One line for each counter that isn't zero: `tunnel_flows_opened_total 17: connections that ...`.
 */
export function countedLines(snapshot: readonly CounterValue[]): string[] {
  return snapshot
    .filter(({ value }) => value !== 0)
    .map(({ name, help, value }) => `${name} ${value}: ${help}`);
}

/** The names of counters that are zero, several to a line. */
export function uncountedLines(snapshot: readonly CounterValue[]): string[] {
  const names = snapshot.filter(({ value }) => value === 0).map(({ name }) => name);
  const lines: string[] = [];
  for (let first = 0; first < names.length; first += ZEROS_IN_A_LINE)
    lines.push(`zero: ${names.slice(first, first + ZEROS_IN_A_LINE).join(' ')}`);
  return lines;
}
