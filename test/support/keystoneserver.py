"""Keystone's own WSGI application on 127.0.0.1:5000, without Apache or uWSGI: keystoneserver.py keystone.conf"""
import eventlet

eventlet.monkey_patch()

import os
import sys

from eventlet import wsgi

os.environ['OS_KEYSTONE_CONFIG_FILES'] = sys.argv[1]
sys.argv[1:] = []
from keystone.server.wsgi import initialize_public_application

application = initialize_public_application()
listener = eventlet.listen(('127.0.0.1', 5000))
print('ready', flush=True)
wsgi.server(listener, application, log_output=False)
