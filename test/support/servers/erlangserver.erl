%% A jump host of Erlang's own ssh application: escript erlangserver.erl PORT AUTHORIZED_KEYS
%% HOST_KEY. Its forwarding is Erlang's own; there is no policy. Prints "ready", and "session" when
%% somebody starts something in a session channel.
-module(erlangserver).
-mode(compile).
-export([main/1, host_key/2, is_auth_key/3]).
-export([init/1, handle_ssh_msg/2, handle_msg/2, terminate/2]).
-behaviour(ssh_server_key_api).
-behaviour(ssh_server_channel).

main([Port, AuthorizedKeys, HostKey]) ->
    {ok, _} = application:ensure_all_started(ssh),
    {ok, Lines} = file:read_file(AuthorizedKeys),
    {ok, Key} = file:read_file(HostKey),
    [{Private, _} | _] = decode(Key),
    Known = [Public || {Public, _} <- ssh_file:decode(Lines, auth_keys)],
    {ok, _} = ssh:daemon(list_to_integer(Port), [
        {key_cb, {?MODULE, [{private, Private}, {known, Known}]}},
        {auth_methods, "publickey"},
        {tcpip_tunnel_in, true},
        {ssh_cli, {?MODULE, []}},
        {preferred_algorithms, [{public_key, ['ssh-ed25519', 'rsa-sha2-256', 'rsa-sha2-512']}]}
    ]),
    io:format("ready~n"),
    receive stop -> ok end.

decode(Key) -> ssh_file:decode(Key, openssh_key_v1).

host_key('ssh-ed25519', Options) -> {ok, private(Options)};
host_key(_, _) -> {error, "only ed25519"}.

is_auth_key(Key, _User, Options) -> lists:member(Key, option(known, Options)).

private(Options) -> option(private, Options).

option(Name, Options) -> proplists:get_value(Name, proplists:get_value(key_cb_private, Options)).

init(_) -> io:format("session~n"), {ok, none}.

handle_msg({ssh_channel_up, Channel, _}, State) -> {stop, Channel, State};
handle_msg(_, State) -> {ok, State}.

handle_ssh_msg(_, State) -> {ok, State}.

terminate(_, _) -> ok.
