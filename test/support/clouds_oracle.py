"""What openstacksdk, or with {"command": true} the openstack command, makes of a clouds.yaml. Reads
cases as JSON ([{directory, env, cloud, region, command}]) and prints, for each, the settings that
matter or {"error": ...}. The loader is imported again for each case, because it looks for its files
when it is imported. What is asked for is answered with "asked"."""
import importlib
import json
import os
import sys
import warnings

warnings.simplefilter('ignore')
from openstack.config import loader

try:
    # Before the forks: it takes a second.
    from openstackclient import shell
except ImportError:
    shell = None


def look(case):
    os.environ.clear()
    os.environ.update(case['env'], LANG='C.UTF-8')
    os.chdir(case['directory'])
    importlib.reload(loader)
    if case.get('command'):
        config, cloud = of_command(case)
        plugin = config.load_auth_plugin(cloud.config)
    else:
        config = loader.OpenStackConfig(pw_func=lambda prompt: 'asked')
        arguments = {}
        if case['region']:
            arguments['region_name'] = case['region']
        cloud = config.get_one(cloud=case['cloud'], **arguments)
        plugin = cloud.get_auth()
    auth = cloud.config['auth']
    verify, _ = cloud.get_requests_verify_args()
    return {
        'name': cloud.name,
        'authUrl': auth.get('auth_url'),
        'authType': cloud.config['auth_type'],
        'region': cloud.get_region_name() or None,
        'interface': cloud.get_interface(),
        'verify': verify,
        'username': auth.get('username'),
        'password': auth.get('password'),
        'token': auth.get('token'),
        'credential': auth.get('application_credential_id'),
        'project': auth.get('project_name') or auth.get('project_id'),
        'userDomain': auth.get('user_domain_name') or auth.get('user_domain_id'),
        'volume': cloud.get_endpoint('block-storage'),
        'computeInterface': cloud.get_interface('compute'),
        'computeRegion': cloud.get_region_name('compute') or None,
        'body': body_of(plugin),
        'endpoint': getattr(plugin, 'endpoint', None),
    }


def of_command(case):
    """As osc_lib.shell.OpenStackShell.initialize_app does it."""
    from osc_lib.cli import client_config

    importlib.reload(client_config)
    arguments = ['--os-cloud', case['cloud']] if case['cloud'] else []
    if case['region']:
        arguments += ['--os-region-name', case['region']]
    command = shell.OpenStackShell()
    options, _ = command.parser.parse_known_args(arguments)
    command.options = options
    command._final_defaults()
    config = client_config.OSC_Config(
        pw_func=lambda prompt=None: 'asked',
        override_defaults={'interface': 'public', 'auth_type': command._auth_type},
    )
    return config, config.get_one(cloud=options.cloud, argparse=options, validate=False)


class Sent(Exception):
    pass


class Session:
    def post(self, url, json=None, **_):
        raise Sent(json)


def body_of(plugin):
    """The request for a token, of version 3 of the Identity API."""
    if hasattr(plugin, 'create_plugin'):
        plugin = plugin.create_plugin(None, (3, 0), plugin.auth_url)
    if not hasattr(plugin, 'auth_methods'):
        return None
    try:
        plugin.get_auth_ref(Session())
    except Sent as sent:
        return sent.args[0]


def answer_to(case):
    try:
        # A date or boolean can't be sent.
        return json.dumps(look(case))
    except Exception as error:
        return json.dumps({'error': f'{type(error).__name__}: {error}'})


def forked(case):
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, answer_to(case).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    os.wait()
    return text


def main():
    # The command leaves much behind; the library only needs its loader again.
    answers = [forked(case) if case.get('command') else answer_to(case) for case in json.load(sys.stdin)]
    print('[', ','.join(answers), ']')


main()
