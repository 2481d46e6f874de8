"""What openstacksdk itself makes of a clouds.yaml. Reads cases as JSON ([{directory, env, cloud,
region}]) and prints, for each, the settings that matter or {"error": ...}. One process for all:
each case is a fork in which the loader is imported anew, because it looks for its files when it
is imported."""
import importlib
import json
import os
import sys
import warnings

warnings.simplefilter('ignore')
from openstack.config import loader


def look(case):
    os.environ.clear()
    os.environ.update(case['env'])
    os.chdir(case['directory'])
    config = importlib.reload(loader).OpenStackConfig()
    arguments = {}
    if case['region']:
        arguments['region_name'] = case['region']
    cloud = config.get_one(cloud=case['cloud'], **arguments)
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
    }


def main():
    answers = []
    for case in json.load(sys.stdin):
        read, write = os.pipe()
        if os.fork() == 0:
            try:
                answer = look(case)
            except Exception as error:
                answer = {'error': f'{type(error).__name__}: {error}'}
            os.write(write, json.dumps(answer).encode())
            os._exit(0)
        os.close(write)
        answers.append(json.loads(os.fdopen(read).read()))
        os.wait()
    json.dump(answers, sys.stdout)


main()
