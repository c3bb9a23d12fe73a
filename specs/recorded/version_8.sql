-- A database of version 8, in which flows inside of tasks are JSON; see tests/contract/test_recorded_databases.py.
BEGIN TRANSACTION;
CREATE TABLE mc_attempt (
	id INTEGER NOT NULL, 
	flow_key VARCHAR(255) NOT NULL, 
	task_key VARCHAR(255) NOT NULL, 
	attempt INTEGER NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	started_at VARCHAR(32), 
	finished_at VARCHAR(32), 
	owner VARCHAR(255), 
	error TEXT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(flow_key) REFERENCES mc_flow ("key") ON DELETE CASCADE
);
INSERT INTO "mc_attempt" VALUES(1,'failed','outer',1,'FAILED','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca','{"type":"FlowError","message":"The sub-flow failed: task ''inner'': FlowError: The sub-flow failed: task ''breaks'': RuntimeError: it broke","traceback":"Traceback (most recent call last):\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 125, in run\n    self._finish(result)\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 167, in _finish\n    make_steps(host, host.steps(result))\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 418, in make_steps\n    step = next(steps)\n           ^^^^^^^^^^^\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 407, in _until_over\n    for call in calls:\n  File \"/srv/venv/mc/task_handlers/base_sub_flow_task_handler.py\", line 59, in tick_task\n    raise make_failure(sub_flow.status, failure, names, self.describe_sub_flow())\nmc.errors.FlowError: The sub-flow failed: task ''inner'': FlowError: The sub-flow failed: task ''breaks'': RuntimeError: it broke\n","at":"2026-01-01T12:00:00.000000+00:00"}');
INSERT INTO "mc_attempt" VALUES(2,'failed','switch',1,'FAILED','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca','{"type":"FlowError","at":"2026-01-01T12:00:00.000000+00:00","message":"The sub-flow failed: task ''breaks'': RuntimeError: it broke","traceback":"Traceback (most recent call last):\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 125, in run\n    self._finish(result)\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 167, in _finish\n    make_steps(host, host.steps(result))\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 418, in make_steps\n    step = next(steps)\n           ^^^^^^^^^^^\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 407, in _until_over\n    for call in calls:\n  File \"/srv/venv/mc/task_handlers/base_sub_flow_task_handler.py\", line 59, in tick_task\n    raise make_failure(sub_flow.status, failure, names, self.describe_sub_flow())\nmc.errors.FlowError: The sub-flow failed: task ''breaks'': RuntimeError: it broke\n"}');
INSERT INTO "mc_attempt" VALUES(3,'living','spread',1,'RUNNING','2026-01-01T12:00:00.000000+00:00',NULL,'host:15064:82f49dca',NULL);
INSERT INTO "mc_attempt" VALUES(4,'living','loop',1,'RUNNING','2026-01-01T12:00:00.000000+00:00',NULL,'host:15064:82f49dca',NULL);
INSERT INTO "mc_attempt" VALUES(5,'living','outer',1,'RUNNING','2026-01-01T12:00:00.000000+00:00',NULL,'host:15064:82f49dca',NULL);
INSERT INTO "mc_attempt" VALUES(6,'living','switch',1,'RUNNING','2026-01-01T12:00:00.000000+00:00',NULL,'host:15064:82f49dca',NULL);
INSERT INTO "mc_attempt" VALUES(7,'living','asking',1,'RUNNING','2026-01-01T12:00:00.000000+00:00',NULL,'host:15064:82f49dca',NULL);
INSERT INTO "mc_attempt" VALUES(8,'paused','spread',1,'RUNNING','2026-01-01T12:00:00.000000+00:00',NULL,'host:15064:82f49dca',NULL);
INSERT INTO "mc_attempt" VALUES(9,'paused','loop',1,'RUNNING','2026-01-01T12:00:00.000000+00:00',NULL,'host:15064:82f49dca',NULL);
INSERT INTO "mc_attempt" VALUES(10,'paused','outer',1,'RUNNING','2026-01-01T12:00:00.000000+00:00',NULL,'host:15064:82f49dca',NULL);
INSERT INTO "mc_attempt" VALUES(11,'paused','switch',1,'RUNNING','2026-01-01T12:00:00.000000+00:00',NULL,'host:15064:82f49dca',NULL);
INSERT INTO "mc_attempt" VALUES(12,'paused','asking',1,'RUNNING','2026-01-01T12:00:00.000000+00:00',NULL,'host:15064:82f49dca',NULL);
CREATE TABLE mc_edge (
	flow_key VARCHAR(255) NOT NULL, 
	src_key VARCHAR(255) NOT NULL, 
	dest_key VARCHAR(255) NOT NULL, 
	position INTEGER NOT NULL, 
	PRIMARY KEY (flow_key, src_key, dest_key), 
	FOREIGN KEY(flow_key) REFERENCES mc_flow ("key") ON DELETE CASCADE
)
 WITHOUT ROWID

;
INSERT INTO "mc_edge" VALUES('failed','ROOT','outer',0);
INSERT INTO "mc_edge" VALUES('failed','ROOT','switch',1);
INSERT INTO "mc_edge" VALUES('failed','outer','end',2);
INSERT INTO "mc_edge" VALUES('failed','switch','end',3);
INSERT INTO "mc_edge" VALUES('living','ROOT','asking',4);
INSERT INTO "mc_edge" VALUES('living','ROOT','loop',1);
INSERT INTO "mc_edge" VALUES('living','ROOT','outer',2);
INSERT INTO "mc_edge" VALUES('living','ROOT','spread',0);
INSERT INTO "mc_edge" VALUES('living','ROOT','switch',3);
INSERT INTO "mc_edge" VALUES('living','asking','end',9);
INSERT INTO "mc_edge" VALUES('living','loop','end',6);
INSERT INTO "mc_edge" VALUES('living','outer','end',7);
INSERT INTO "mc_edge" VALUES('living','spread','end',5);
INSERT INTO "mc_edge" VALUES('living','switch','end',8);
INSERT INTO "mc_edge" VALUES('paused','ROOT','asking',4);
INSERT INTO "mc_edge" VALUES('paused','ROOT','loop',1);
INSERT INTO "mc_edge" VALUES('paused','ROOT','outer',2);
INSERT INTO "mc_edge" VALUES('paused','ROOT','spread',0);
INSERT INTO "mc_edge" VALUES('paused','ROOT','switch',3);
INSERT INTO "mc_edge" VALUES('paused','asking','end',9);
INSERT INTO "mc_edge" VALUES('paused','loop','end',6);
INSERT INTO "mc_edge" VALUES('paused','outer','end',7);
INSERT INTO "mc_edge" VALUES('paused','spread','end',5);
INSERT INTO "mc_edge" VALUES('paused','switch','end',8);
CREATE TABLE mc_epoch (
	number INTEGER NOT NULL, 
	id VARCHAR(32) NOT NULL, 
	begun_at VARCHAR(32) NOT NULL, 
	PRIMARY KEY (number)
);
CREATE TABLE mc_event (
	id INTEGER NOT NULL, 
	flow_key VARCHAR(255) NOT NULL, 
	task_key VARCHAR(255), 
	attempt INTEGER NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	old_status VARCHAR(16), 
	new_status VARCHAR(16), 
	at VARCHAR(32) NOT NULL, 
	recorded_at VARCHAR(32) NOT NULL, 
	owner VARCHAR(255), 
	token BIGINT, 
	error TEXT, 
	detail TEXT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(flow_key) REFERENCES mc_flow ("key") ON DELETE CASCADE
);
INSERT INTO "mc_event" VALUES(1,'living',NULL,0,'created',NULL,'PENDING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00',NULL,NULL,NULL,NULL);
INSERT INTO "mc_event" VALUES(2,'paused',NULL,0,'created',NULL,'PENDING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00',NULL,NULL,NULL,NULL);
INSERT INTO "mc_event" VALUES(3,'failed',NULL,0,'created',NULL,'PENDING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00',NULL,NULL,NULL,NULL);
INSERT INTO "mc_event" VALUES(4,'failed',NULL,0,'changed','PENDING','RUNNING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(5,'failed','outer',1,'changed','PENDING','RUNNING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(6,'failed','switch',1,'changed','PENDING','RUNNING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(7,'failed','switch',1,'changed','RUNNING','FAILED','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,'{"type":"FlowError","at":"2026-01-01T12:00:00.000000+00:00","message":"The sub-flow failed: task ''breaks'': RuntimeError: it broke","traceback":"Traceback (most recent call last):\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 125, in run\n    self._finish(result)\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 167, in _finish\n    make_steps(host, host.steps(result))\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 418, in make_steps\n    step = next(steps)\n           ^^^^^^^^^^^\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 407, in _until_over\n    for call in calls:\n  File \"/srv/venv/mc/task_handlers/base_sub_flow_task_handler.py\", line 59, in tick_task\n    raise make_failure(sub_flow.status, failure, names, self.describe_sub_flow())\nmc.errors.FlowError: The sub-flow failed: task ''breaks'': RuntimeError: it broke\n"}',NULL);
INSERT INTO "mc_event" VALUES(8,'failed','end',0,'changed','PENDING','SKIPPED','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(9,'failed','outer',1,'changed','RUNNING','FAILED','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,'{"type":"FlowError","message":"The sub-flow failed: task ''inner'': FlowError: The sub-flow failed: task ''breaks'': RuntimeError: it broke","traceback":"Traceback (most recent call last):\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 125, in run\n    self._finish(result)\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 167, in _finish\n    make_steps(host, host.steps(result))\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 418, in make_steps\n    step = next(steps)\n           ^^^^^^^^^^^\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 407, in _until_over\n    for call in calls:\n  File \"/srv/venv/mc/task_handlers/base_sub_flow_task_handler.py\", line 59, in tick_task\n    raise make_failure(sub_flow.status, failure, names, self.describe_sub_flow())\nmc.errors.FlowError: The sub-flow failed: task ''inner'': FlowError: The sub-flow failed: task ''breaks'': RuntimeError: it broke\n","at":"2026-01-01T12:00:00.000000+00:00"}',NULL);
INSERT INTO "mc_event" VALUES(10,'living',NULL,0,'changed','PENDING','RUNNING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(11,'living','spread',1,'changed','PENDING','RUNNING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(12,'living','spread',1,'changed','RUNNING','WAITING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(13,'living','loop',1,'changed','PENDING','RUNNING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(14,'living','outer',1,'changed','PENDING','RUNNING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(15,'living','switch',1,'changed','PENDING','RUNNING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(16,'living','asking',1,'changed','PENDING','RUNNING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(17,'living','asking',1,'changed','RUNNING','WAITING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(18,'living','loop',1,'changed','RUNNING','WAITING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(19,'living','switch',1,'changed','RUNNING','WAITING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(20,'living','outer',1,'changed','RUNNING','WAITING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(21,'paused',NULL,0,'changed','PENDING','RUNNING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(22,'paused','spread',1,'changed','PENDING','RUNNING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(23,'paused','spread',1,'changed','RUNNING','WAITING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(24,'paused','loop',1,'changed','PENDING','RUNNING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(25,'paused','outer',1,'changed','PENDING','RUNNING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(26,'paused','switch',1,'changed','PENDING','RUNNING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(27,'paused','asking',1,'changed','PENDING','RUNNING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(28,'paused','asking',1,'changed','RUNNING','WAITING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(29,'paused','loop',1,'changed','RUNNING','WAITING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(30,'paused','switch',1,'changed','RUNNING','WAITING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(31,'paused','outer',1,'changed','RUNNING','WAITING','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(32,'failed',NULL,0,'changed','RUNNING','FAILED','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','host:15064:82f49dca',1,NULL,NULL);
INSERT INTO "mc_event" VALUES(33,'paused',NULL,0,'changed','RUNNING','PAUSED','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00',NULL,NULL,NULL,NULL);
CREATE TABLE mc_flow (
	"key" VARCHAR(255) NOT NULL, 
	label TEXT, 
	status VARCHAR(16) NOT NULL, 
	blocked_reason TEXT, 
	priority INTEGER NOT NULL, 
	next_tick_at VARCHAR(32), 
	lease_owner VARCHAR(255), 
	lease_expires_at VARCHAR(32), 
	lease_token BIGINT NOT NULL, 
	lost_leases INTEGER NOT NULL, 
	revision BIGINT NOT NULL, 
	parent_key VARCHAR(255), 
	parent_task_key VARCHAR(255), 
	waiter_key VARCHAR(255), 
	spec_digest VARCHAR(64), 
	created_at VARCHAR(32) NOT NULL, 
	modified_at VARCHAR(32) NOT NULL, 
	finished_at VARCHAR(32), 
	task_counts TEXT NOT NULL, 
	data TEXT NOT NULL, 
	body TEXT NOT NULL, lease_id VARCHAR(32), lost_calls TEXT, 
	PRIMARY KEY ("key"), 
	FOREIGN KEY(spec_digest) REFERENCES mc_spec (digest)
);
INSERT INTO "mc_flow" VALUES('living',NULL,'RUNNING',NULL,0,'2026-01-01T13:00:00.000000+00:00',NULL,NULL,1,0,14,NULL,NULL,NULL,'3f377e6df42093e77a3d3c0fa1179eeb4d2825e5ce16add9ac06f31e4cb12bc7','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00',NULL,'{"PENDING":1,"WAITING":5}','{}','{"version":null,"description":null,"cfg":{},"params":null,"depth":0,"result_paths":null,"results":null,"error":null,"missing_handlers":null,"stopped_at":null,"started_at":"2026-01-01T12:00:00.000000+00:00","deadline_at":null,"ticks":3,"failures":0,"bytes":40}','4d1566d58c3d4072b3c1387c347c6809',NULL);
INSERT INTO "mc_flow" VALUES('paused',NULL,'PAUSED',NULL,0,NULL,NULL,NULL,2,0,15,NULL,NULL,NULL,'3f377e6df42093e77a3d3c0fa1179eeb4d2825e5ce16add9ac06f31e4cb12bc7','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00',NULL,'{"PENDING":1,"WAITING":5}','{}','{"version":null,"description":null,"cfg":{},"params":null,"depth":0,"result_paths":null,"results":null,"error":null,"missing_handlers":null,"stopped_at":"2026-01-01T12:00:00.000000+00:00","started_at":"2026-01-01T12:00:00.000000+00:00","deadline_at":null,"ticks":3,"failures":0,"bytes":40}','4d1566d58c3d4072b3c1387c347c6809',NULL);
INSERT INTO "mc_flow" VALUES('failed',NULL,'FAILED',NULL,0,NULL,NULL,NULL,1,0,8,NULL,NULL,NULL,'7792ddc4966a724a4c20658bf19de77cf31e002a51446b6a3900af71c4b9b5db','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00','{"FAILED":2,"SKIPPED":1}','{}','{"version":null,"description":null,"cfg":{"fail_fast":false},"params":null,"depth":0,"result_paths":null,"results":null,"error":null,"missing_handlers":null,"stopped_at":null,"started_at":"2026-01-01T12:00:00.000000+00:00","deadline_at":null,"ticks":3,"failures":2,"bytes":0}','4d1566d58c3d4072b3c1387c347c6809',NULL);
CREATE TABLE mc_resource (
	name VARCHAR(100) NOT NULL, 
	slots INTEGER, 
	rate_count INTEGER, 
	rate_microseconds BIGINT, 
	set_at VARCHAR(32), 
	PRIMARY KEY (name)
)
 WITHOUT ROWID

;
CREATE TABLE mc_resource_claim (
	flow_key VARCHAR(255) NOT NULL, 
	claim_id VARCHAR(255) NOT NULL, 
	resource VARCHAR(100) NOT NULL, 
	task_key VARCHAR(255) NOT NULL, 
	attempt INTEGER NOT NULL, 
	slots INTEGER NOT NULL, 
	flow_priority INTEGER NOT NULL, 
	priority INTEGER NOT NULL, 
	since VARCHAR(32) NOT NULL, 
	begun INTEGER NOT NULL, 
	token BIGINT NOT NULL, 
	granted_at VARCHAR(32), 
	woken_at VARCHAR(32), 
	due_at VARCHAR(32), 
	hopeless INTEGER NOT NULL, 
	PRIMARY KEY (flow_key, claim_id, resource), 
	FOREIGN KEY(flow_key) REFERENCES mc_flow ("key") ON DELETE CASCADE
)
 WITHOUT ROWID

;
CREATE TABLE mc_resource_use (
	id INTEGER NOT NULL, 
	resource VARCHAR(100) NOT NULL, 
	taken_at VARCHAR(32) NOT NULL, 
	slots INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE mc_schema (
	version INTEGER NOT NULL, 
	applied_at VARCHAR(32) NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "mc_schema" VALUES(1,'2026-01-01T12:00:00.000000+00:00');
INSERT INTO "mc_schema" VALUES(2,'2026-01-01T12:00:00.000000+00:00');
INSERT INTO "mc_schema" VALUES(3,'2026-01-01T12:00:00.000000+00:00');
INSERT INTO "mc_schema" VALUES(4,'2026-01-01T12:00:00.000000+00:00');
INSERT INTO "mc_schema" VALUES(5,'2026-01-01T12:00:00.000000+00:00');
INSERT INTO "mc_schema" VALUES(6,'2026-01-01T12:00:00.000000+00:00');
INSERT INTO "mc_schema" VALUES(7,'2026-01-01T12:00:00.000000+00:00');
INSERT INTO "mc_schema" VALUES(8,'2026-01-01T12:00:00.000000+00:00');
CREATE TABLE mc_signal (
	id INTEGER NOT NULL, 
	flow_key VARCHAR(255) NOT NULL, 
	signal_id VARCHAR(255) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	data TEXT NOT NULL, 
	sent_at VARCHAR(32) NOT NULL, 
	sent_by VARCHAR(255), 
	taken_by TEXT, 
	taken_at VARCHAR(32), 
	PRIMARY KEY (id), 
	FOREIGN KEY(flow_key) REFERENCES mc_flow ("key") ON DELETE CASCADE
);
CREATE TABLE mc_spec (
	digest VARCHAR(64) NOT NULL, 
	text TEXT NOT NULL, 
	PRIMARY KEY (digest)
);
INSERT INTO "mc_spec" VALUES('3f377e6df42093e77a3d3c0fa1179eeb4d2825e5ce16add9ac06f31e4cb12bc7','{"tasks":[{"key":"spread","task_type":"spread","precursors":[],"task_params":{"items":[1,2,3],"mapping_params":{"skeleton":{"task_type":"sleepy"},"wirings":["ctx.item.value => ctx.skeleton.data.item"]}}},{"key":"loop","task_type":"loop","precursors":[],"task_params":{"max_iterations":3,"flow_spec":{"tasks":[{"key":"first","task_type":"noop"},{"key":"step","task_type":"sleepy"}]}}},{"key":"outer","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"first","task_type":"noop"},{"key":"inner","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"first","task_type":"noop"},{"key":"step","task_type":"sleepy"},{"key":"last","task_type":"noop"}]}}}]}},"precursors":[]},{"key":"switch","task_type":"switch","task_params":{"control_value":1,"default_case":{"task":{"key":"chosen","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"first","task_type":"noop"},{"key":"step","task_type":"sleepy"}]}}}}},"precursors":[]},{"key":"asking","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"signal","task_type":"wait_for_signal","task_params":{"signal":"go"}}]}},"precursors":[]},{"key":"end","task_type":"noop","precursors":["spread","loop","outer","switch","asking"]}]}');
INSERT INTO "mc_spec" VALUES('7792ddc4966a724a4c20658bf19de77cf31e002a51446b6a3900af71c4b9b5db','{"cfg":{"fail_fast":false},"tasks":[{"key":"outer","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"done","task_type":"noop"},{"key":"inner","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"done","task_type":"noop"},{"key":"breaks","task_type":"fragile"}]}}}]}},"precursors":[]},{"key":"switch","task_type":"switch","task_params":{"control_value":1,"default_case":{"task":{"key":"chosen","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"done","task_type":"noop"},{"key":"breaks","task_type":"fragile"}]}}}}},"precursors":[]},{"key":"end","task_type":"noop","precursors":["outer","switch"]}]}');
CREATE TABLE mc_task (
	flow_key VARCHAR(255) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	position INTEGER NOT NULL, 
	rank BIGINT NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	unmet INTEGER NOT NULL, 
	due_at VARCHAR(32), 
	body TEXT NOT NULL, 
	PRIMARY KEY (flow_key, "key"), 
	FOREIGN KEY(flow_key) REFERENCES mc_flow ("key") ON DELETE CASCADE
);
INSERT INTO "mc_task" VALUES('living','spread',1,16777216,'WAITING',0,'2026-01-01T13:00:00.000000+00:00','{"key":"spread","task_type":"spread","task_params":{"items":[1,2,3],"mapping_params":{"skeleton":{"task_type":"sleepy"},"wirings":["ctx.item.value => ctx.skeleton.data.item"]}},"data":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","flow_dict":{"schema_version":1,"key":"living/spread/1","label":null,"version":null,"description":null,"cfg":{},"data":{},"params":null,"status":"RUNNING","depth":1,"parent_key":"living","parent_task_key":"spread","result_paths":null,"results":null,"error":null,"blocked_reason":null,"missing_handlers":null,"stopped_at":null,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":null,"deadline_at":null,"ticks":1,"spec":null,"num_tickable_tasks":3,"graph":{"tasks":{"ROOT":{"key":"ROOT","status":"COMPLETED","data":{}},"item_0":{"task_type":"sleepy","data":{"item":1,"calls":1},"key":"item_0","task_params":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","next_tick_at":"2026-01-01T13:00:00.000000+00:00","initialised":true},"item_1":{"task_type":"sleepy","data":{"item":2,"calls":1},"key":"item_1","task_params":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","next_tick_at":"2026-01-01T13:00:00.000000+00:00","initialised":true},"item_2":{"task_type":"sleepy","data":{"item":3,"calls":1},"key":"item_2","task_params":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","next_tick_at":"2026-01-01T13:00:00.000000+00:00","initialised":true}},"edges":[{"src_key":"ROOT","dest_key":"item_0"},{"src_key":"ROOT","dest_key":"item_1"},{"src_key":"ROOT","dest_key":"item_2"}],"order":["item_0","item_1","item_2"]}},"next_tick_at":"2026-01-01T13:00:00.000000+00:00","initialised":true}');
INSERT INTO "mc_task" VALUES('living','loop',2,16777216,'WAITING',0,'2026-01-01T13:00:00.000000+00:00','{"key":"loop","task_type":"loop","task_params":{"max_iterations":3,"flow_spec":{"tasks":[{"key":"first","task_type":"noop"},{"key":"step","task_type":"sleepy"}]}},"data":{"iterations":0,"last":null},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","initialised":true,"flow_dict":{"schema_version":1,"key":"living/loop/1/0","label":null,"version":null,"description":null,"cfg":{},"data":{},"params":null,"status":"RUNNING","depth":1,"parent_key":"living","parent_task_key":"loop","result_paths":null,"results":null,"error":null,"blocked_reason":null,"missing_handlers":null,"stopped_at":null,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":null,"deadline_at":null,"ticks":2,"spec":null,"num_tickable_tasks":1,"graph":{"tasks":{"ROOT":{"key":"ROOT","status":"COMPLETED","data":{}},"first":{"key":"first","task_type":"noop","task_params":{},"data":{},"status":"COMPLETED","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":"2026-01-01T12:00:00.000000+00:00"},"step":{"key":"step","task_type":"sleepy","task_params":{},"data":{"calls":1},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","next_tick_at":"2026-01-01T13:00:00.000000+00:00","initialised":true}},"edges":[{"src_key":"ROOT","dest_key":"first"},{"src_key":"first","dest_key":"step"}],"order":["first","step"]}},"next_tick_at":"2026-01-01T13:00:00.000000+00:00"}');
INSERT INTO "mc_task" VALUES('living','outer',3,16777216,'WAITING',0,'2026-01-01T13:00:00.000000+00:00','{"key":"outer","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"first","task_type":"noop"},{"key":"inner","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"first","task_type":"noop"},{"key":"step","task_type":"sleepy"},{"key":"last","task_type":"noop"}]}}}]}},"data":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","initialised":true,"flow_dict":{"schema_version":1,"key":"living/outer/1","label":null,"version":null,"description":null,"cfg":{},"data":{},"params":null,"status":"RUNNING","depth":1,"parent_key":"living","parent_task_key":"outer","result_paths":null,"results":null,"error":null,"blocked_reason":null,"missing_handlers":null,"stopped_at":null,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":null,"deadline_at":null,"ticks":3,"spec":null,"num_tickable_tasks":1,"graph":{"tasks":{"ROOT":{"key":"ROOT","status":"COMPLETED","data":{}},"first":{"key":"first","task_type":"noop","task_params":{},"data":{},"status":"COMPLETED","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":"2026-01-01T12:00:00.000000+00:00"},"inner":{"key":"inner","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"first","task_type":"noop"},{"key":"step","task_type":"sleepy"},{"key":"last","task_type":"noop"}]}},"data":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","initialised":true,"flow_dict":{"schema_version":1,"key":"living/outer/1/inner/1","label":null,"version":null,"description":null,"cfg":{},"data":{},"params":null,"status":"RUNNING","depth":2,"parent_key":"living/outer/1","parent_task_key":"inner","result_paths":null,"results":null,"error":null,"blocked_reason":null,"missing_handlers":null,"stopped_at":null,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":null,"deadline_at":null,"ticks":2,"spec":null,"num_tickable_tasks":1,"graph":{"tasks":{"ROOT":{"key":"ROOT","status":"COMPLETED","data":{}},"first":{"key":"first","task_type":"noop","task_params":{},"data":{},"status":"COMPLETED","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":"2026-01-01T12:00:00.000000+00:00"},"step":{"key":"step","task_type":"sleepy","task_params":{},"data":{"calls":1},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","next_tick_at":"2026-01-01T13:00:00.000000+00:00","initialised":true},"last":{"key":"last","task_type":"noop","task_params":{},"data":{},"status":"PENDING","attempt":0}},"edges":[{"src_key":"ROOT","dest_key":"first"},{"src_key":"first","dest_key":"step"},{"src_key":"step","dest_key":"last"}],"order":["first","step","last"]}},"next_tick_at":"2026-01-01T13:00:00.000000+00:00"}},"edges":[{"src_key":"ROOT","dest_key":"first"},{"src_key":"first","dest_key":"inner"}],"order":["first","inner"]}},"next_tick_at":"2026-01-01T13:00:00.000000+00:00"}');
INSERT INTO "mc_task" VALUES('living','switch',4,16777216,'WAITING',0,'2026-01-01T13:00:00.000000+00:00','{"key":"switch","task_type":"switch","task_params":{"control_value":1,"default_case":{"task":{"key":"chosen","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"first","task_type":"noop"},{"key":"step","task_type":"sleepy"}]}}}}},"data":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","proxied_task":{"key":"chosen","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"first","task_type":"noop"},{"key":"step","task_type":"sleepy"}]}},"data":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","initialised":true,"flow_dict":{"schema_version":1,"key":"living/switch/1","label":null,"version":null,"description":null,"cfg":{},"data":{},"params":null,"status":"RUNNING","depth":1,"parent_key":"living","parent_task_key":"switch","result_paths":null,"results":null,"error":null,"blocked_reason":null,"missing_handlers":null,"stopped_at":null,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":null,"deadline_at":null,"ticks":2,"spec":null,"num_tickable_tasks":1,"graph":{"tasks":{"ROOT":{"key":"ROOT","status":"COMPLETED","data":{}},"first":{"key":"first","task_type":"noop","task_params":{},"data":{},"status":"COMPLETED","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":"2026-01-01T12:00:00.000000+00:00"},"step":{"key":"step","task_type":"sleepy","task_params":{},"data":{"calls":1},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","next_tick_at":"2026-01-01T13:00:00.000000+00:00","initialised":true}},"edges":[{"src_key":"ROOT","dest_key":"first"},{"src_key":"first","dest_key":"step"}],"order":["first","step"]}},"next_tick_at":"2026-01-01T13:00:00.000000+00:00"},"initialised":true,"next_tick_at":"2026-01-01T13:00:00.000000+00:00"}');
INSERT INTO "mc_task" VALUES('living','asking',5,16777216,'WAITING',0,NULL,'{"key":"asking","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"signal","task_type":"wait_for_signal","task_params":{"signal":"go"}}]}},"data":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","initialised":true,"flow_dict":{"schema_version":1,"key":"living/asking/1","label":null,"version":null,"description":null,"cfg":{},"data":{},"params":null,"status":"RUNNING","depth":1,"parent_key":"living","parent_task_key":"asking","result_paths":null,"results":null,"error":null,"blocked_reason":null,"missing_handlers":null,"stopped_at":null,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":null,"deadline_at":null,"ticks":1,"spec":null,"num_tickable_tasks":1,"graph":{"tasks":{"ROOT":{"key":"ROOT","status":"COMPLETED","data":{}},"signal":{"key":"signal","task_type":"wait_for_signal","task_params":{"signal":"go"},"data":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","waits_for":{"signal":"go","since":"2026-01-01T12:00:00.000000+00:00","until":null,"wait_id":"living/asking/1/signal/1"},"initialised":true}},"edges":[{"src_key":"ROOT","dest_key":"signal"}],"order":["signal"]}}}');
INSERT INTO "mc_task" VALUES('living','end',6,33554432,'PENDING',5,NULL,'{"key":"end","task_type":"noop","task_params":{},"data":{},"status":"PENDING","attempt":0}');
INSERT INTO "mc_task" VALUES('paused','spread',1,16777216,'WAITING',0,'2026-01-01T13:00:00.000000+00:00','{"key":"spread","task_type":"spread","task_params":{"items":[1,2,3],"mapping_params":{"skeleton":{"task_type":"sleepy"},"wirings":["ctx.item.value => ctx.skeleton.data.item"]}},"data":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","flow_dict":{"schema_version":1,"key":"paused/spread/1","label":null,"version":null,"description":null,"cfg":{},"data":{},"params":null,"status":"RUNNING","depth":1,"parent_key":"paused","parent_task_key":"spread","result_paths":null,"results":null,"error":null,"blocked_reason":null,"missing_handlers":null,"stopped_at":null,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":null,"deadline_at":null,"ticks":1,"spec":null,"num_tickable_tasks":3,"graph":{"tasks":{"ROOT":{"key":"ROOT","status":"COMPLETED","data":{}},"item_0":{"task_type":"sleepy","data":{"item":1,"calls":1},"key":"item_0","task_params":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","next_tick_at":"2026-01-01T13:00:00.000000+00:00","initialised":true},"item_1":{"task_type":"sleepy","data":{"item":2,"calls":1},"key":"item_1","task_params":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","next_tick_at":"2026-01-01T13:00:00.000000+00:00","initialised":true},"item_2":{"task_type":"sleepy","data":{"item":3,"calls":1},"key":"item_2","task_params":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","next_tick_at":"2026-01-01T13:00:00.000000+00:00","initialised":true}},"edges":[{"src_key":"ROOT","dest_key":"item_0"},{"src_key":"ROOT","dest_key":"item_1"},{"src_key":"ROOT","dest_key":"item_2"}],"order":["item_0","item_1","item_2"]}},"next_tick_at":"2026-01-01T13:00:00.000000+00:00","initialised":true}');
INSERT INTO "mc_task" VALUES('paused','loop',2,16777216,'WAITING',0,'2026-01-01T13:00:00.000000+00:00','{"key":"loop","task_type":"loop","task_params":{"max_iterations":3,"flow_spec":{"tasks":[{"key":"first","task_type":"noop"},{"key":"step","task_type":"sleepy"}]}},"data":{"iterations":0,"last":null},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","initialised":true,"flow_dict":{"schema_version":1,"key":"paused/loop/1/0","label":null,"version":null,"description":null,"cfg":{},"data":{},"params":null,"status":"RUNNING","depth":1,"parent_key":"paused","parent_task_key":"loop","result_paths":null,"results":null,"error":null,"blocked_reason":null,"missing_handlers":null,"stopped_at":null,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":null,"deadline_at":null,"ticks":2,"spec":null,"num_tickable_tasks":1,"graph":{"tasks":{"ROOT":{"key":"ROOT","status":"COMPLETED","data":{}},"first":{"key":"first","task_type":"noop","task_params":{},"data":{},"status":"COMPLETED","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":"2026-01-01T12:00:00.000000+00:00"},"step":{"key":"step","task_type":"sleepy","task_params":{},"data":{"calls":1},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","next_tick_at":"2026-01-01T13:00:00.000000+00:00","initialised":true}},"edges":[{"src_key":"ROOT","dest_key":"first"},{"src_key":"first","dest_key":"step"}],"order":["first","step"]}},"next_tick_at":"2026-01-01T13:00:00.000000+00:00"}');
INSERT INTO "mc_task" VALUES('paused','outer',3,16777216,'WAITING',0,'2026-01-01T13:00:00.000000+00:00','{"key":"outer","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"first","task_type":"noop"},{"key":"inner","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"first","task_type":"noop"},{"key":"step","task_type":"sleepy"},{"key":"last","task_type":"noop"}]}}}]}},"data":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","initialised":true,"flow_dict":{"schema_version":1,"key":"paused/outer/1","label":null,"version":null,"description":null,"cfg":{},"data":{},"params":null,"status":"RUNNING","depth":1,"parent_key":"paused","parent_task_key":"outer","result_paths":null,"results":null,"error":null,"blocked_reason":null,"missing_handlers":null,"stopped_at":null,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":null,"deadline_at":null,"ticks":3,"spec":null,"num_tickable_tasks":1,"graph":{"tasks":{"ROOT":{"key":"ROOT","status":"COMPLETED","data":{}},"first":{"key":"first","task_type":"noop","task_params":{},"data":{},"status":"COMPLETED","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":"2026-01-01T12:00:00.000000+00:00"},"inner":{"key":"inner","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"first","task_type":"noop"},{"key":"step","task_type":"sleepy"},{"key":"last","task_type":"noop"}]}},"data":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","initialised":true,"flow_dict":{"schema_version":1,"key":"paused/outer/1/inner/1","label":null,"version":null,"description":null,"cfg":{},"data":{},"params":null,"status":"RUNNING","depth":2,"parent_key":"paused/outer/1","parent_task_key":"inner","result_paths":null,"results":null,"error":null,"blocked_reason":null,"missing_handlers":null,"stopped_at":null,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":null,"deadline_at":null,"ticks":2,"spec":null,"num_tickable_tasks":1,"graph":{"tasks":{"ROOT":{"key":"ROOT","status":"COMPLETED","data":{}},"first":{"key":"first","task_type":"noop","task_params":{},"data":{},"status":"COMPLETED","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":"2026-01-01T12:00:00.000000+00:00"},"step":{"key":"step","task_type":"sleepy","task_params":{},"data":{"calls":1},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","next_tick_at":"2026-01-01T13:00:00.000000+00:00","initialised":true},"last":{"key":"last","task_type":"noop","task_params":{},"data":{},"status":"PENDING","attempt":0}},"edges":[{"src_key":"ROOT","dest_key":"first"},{"src_key":"first","dest_key":"step"},{"src_key":"step","dest_key":"last"}],"order":["first","step","last"]}},"next_tick_at":"2026-01-01T13:00:00.000000+00:00"}},"edges":[{"src_key":"ROOT","dest_key":"first"},{"src_key":"first","dest_key":"inner"}],"order":["first","inner"]}},"next_tick_at":"2026-01-01T13:00:00.000000+00:00"}');
INSERT INTO "mc_task" VALUES('paused','switch',4,16777216,'WAITING',0,'2026-01-01T13:00:00.000000+00:00','{"key":"switch","task_type":"switch","task_params":{"control_value":1,"default_case":{"task":{"key":"chosen","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"first","task_type":"noop"},{"key":"step","task_type":"sleepy"}]}}}}},"data":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","proxied_task":{"key":"chosen","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"first","task_type":"noop"},{"key":"step","task_type":"sleepy"}]}},"data":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","initialised":true,"flow_dict":{"schema_version":1,"key":"paused/switch/1","label":null,"version":null,"description":null,"cfg":{},"data":{},"params":null,"status":"RUNNING","depth":1,"parent_key":"paused","parent_task_key":"switch","result_paths":null,"results":null,"error":null,"blocked_reason":null,"missing_handlers":null,"stopped_at":null,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":null,"deadline_at":null,"ticks":2,"spec":null,"num_tickable_tasks":1,"graph":{"tasks":{"ROOT":{"key":"ROOT","status":"COMPLETED","data":{}},"first":{"key":"first","task_type":"noop","task_params":{},"data":{},"status":"COMPLETED","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":"2026-01-01T12:00:00.000000+00:00"},"step":{"key":"step","task_type":"sleepy","task_params":{},"data":{"calls":1},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","next_tick_at":"2026-01-01T13:00:00.000000+00:00","initialised":true}},"edges":[{"src_key":"ROOT","dest_key":"first"},{"src_key":"first","dest_key":"step"}],"order":["first","step"]}},"next_tick_at":"2026-01-01T13:00:00.000000+00:00"},"initialised":true,"next_tick_at":"2026-01-01T13:00:00.000000+00:00"}');
INSERT INTO "mc_task" VALUES('paused','asking',5,16777216,'WAITING',0,NULL,'{"key":"asking","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"signal","task_type":"wait_for_signal","task_params":{"signal":"go"}}]}},"data":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","initialised":true,"flow_dict":{"schema_version":1,"key":"paused/asking/1","label":null,"version":null,"description":null,"cfg":{},"data":{},"params":null,"status":"RUNNING","depth":1,"parent_key":"paused","parent_task_key":"asking","result_paths":null,"results":null,"error":null,"blocked_reason":null,"missing_handlers":null,"stopped_at":null,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":null,"deadline_at":null,"ticks":1,"spec":null,"num_tickable_tasks":1,"graph":{"tasks":{"ROOT":{"key":"ROOT","status":"COMPLETED","data":{}},"signal":{"key":"signal","task_type":"wait_for_signal","task_params":{"signal":"go"},"data":{},"status":"WAITING","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","waits_for":{"signal":"go","since":"2026-01-01T12:00:00.000000+00:00","until":null,"wait_id":"paused/asking/1/signal/1"},"initialised":true}},"edges":[{"src_key":"ROOT","dest_key":"signal"}],"order":["signal"]}}}');
INSERT INTO "mc_task" VALUES('paused','end',6,33554432,'PENDING',5,NULL,'{"key":"end","task_type":"noop","task_params":{},"data":{},"status":"PENDING","attempt":0}');
INSERT INTO "mc_task" VALUES('failed','outer',1,16777216,'FAILED',0,NULL,'{"key":"outer","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"done","task_type":"noop"},{"key":"inner","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"done","task_type":"noop"},{"key":"breaks","task_type":"fragile"}]}}}]}},"data":{},"status":"FAILED","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","kept":{"flow_dict":{"schema_version":1,"key":"failed/outer/1","label":null,"version":null,"description":null,"cfg":{},"data":{},"params":null,"status":"FAILED","depth":1,"parent_key":"failed","parent_task_key":"outer","result_paths":null,"results":null,"error":null,"blocked_reason":null,"missing_handlers":null,"stopped_at":null,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":"2026-01-01T12:00:00.000000+00:00","deadline_at":null,"ticks":3,"spec":{"tasks":[{"key":"done","task_type":"noop"},{"key":"inner","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"done","task_type":"noop"},{"key":"breaks","task_type":"fragile"}]}}}]},"num_tickable_tasks":0,"graph":{"tasks":{"ROOT":{"key":"ROOT","status":"COMPLETED","data":{}},"done":{"key":"done","task_type":"noop","task_params":{},"data":{},"status":"COMPLETED","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":"2026-01-01T12:00:00.000000+00:00"},"inner":{"key":"inner","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"done","task_type":"noop"},{"key":"breaks","task_type":"fragile"}]}},"data":{},"status":"FAILED","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","kept":{"flow_dict":{"schema_version":1,"key":"failed/outer/1/inner/1","label":null,"version":null,"description":null,"cfg":{},"data":{},"params":null,"status":"FAILED","depth":2,"parent_key":"failed/outer/1","parent_task_key":"inner","result_paths":null,"results":null,"error":null,"blocked_reason":null,"missing_handlers":null,"stopped_at":null,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":"2026-01-01T12:00:00.000000+00:00","deadline_at":null,"ticks":2,"spec":{"tasks":[{"key":"done","task_type":"noop"},{"key":"breaks","task_type":"fragile"}]},"num_tickable_tasks":0,"graph":{"tasks":{"ROOT":{"key":"ROOT","status":"COMPLETED","data":{}},"done":{"key":"done","task_type":"noop","task_params":{},"data":{},"status":"COMPLETED","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":"2026-01-01T12:00:00.000000+00:00"},"breaks":{"key":"breaks","task_type":"fragile","task_params":{},"data":{},"status":"FAILED","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","error":{"type":"RuntimeError","message":"it broke","traceback":"Traceback (most recent call last):\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 123, in run\n    result = self.handler.call(self.task, self)\n             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/srv/venv/mc/flows/handlers/handler_registry.py\", line 206, in call\n    result = invoke(task, task_ctx)\n             ^^^^^^^^^^^^^^^^^^^^^^\n  File \"/srv/venv/mc/flows/handlers/handler_arguments.py\", line 76, in call\n    return self._function(*[_read(name, task, task_ctx) for name in self._positional], **given)\n           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/srv/tasks.py\", line 22, in fragile\n    raise RuntimeError(\"it broke\")\nRuntimeError: it broke\n","at":"2026-01-01T12:00:00.000000+00:00","types":["RuntimeError","Exception","BaseException","builtins.RuntimeError","builtins.Exception","builtins.BaseException"]},"finished_at":"2026-01-01T12:00:00.000000+00:00"}},"edges":[{"src_key":"ROOT","dest_key":"done"},{"src_key":"done","dest_key":"breaks"}],"order":["done","breaks"]}}},"error":{"type":"FlowError","message":"The sub-flow failed: task ''breaks'': RuntimeError: it broke","traceback":"Traceback (most recent call last):\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 125, in run\n    self._finish(result)\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 167, in _finish\n    make_steps(host, host.steps(result))\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 418, in make_steps\n    step = next(steps)\n           ^^^^^^^^^^^\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 407, in _until_over\n    for call in calls:\n  File \"/srv/venv/mc/task_handlers/base_sub_flow_task_handler.py\", line 59, in tick_task\n    raise make_failure(sub_flow.status, failure, names, self.describe_sub_flow())\nmc.errors.FlowError: The sub-flow failed: task ''breaks'': RuntimeError: it broke\n","at":"2026-01-01T12:00:00.000000+00:00","types":["FlowError","McError","Exception","BaseException","mc.errors.FlowError","mc.errors.McError","builtins.Exception","builtins.BaseException","RuntimeError","Exception","BaseException","builtins.RuntimeError","builtins.Exception","builtins.BaseException"]},"finished_at":"2026-01-01T12:00:00.000000+00:00"}},"edges":[{"src_key":"ROOT","dest_key":"done"},{"src_key":"done","dest_key":"inner"}],"order":["done","inner"]}}},"error":{"type":"FlowError","message":"The sub-flow failed: task ''inner'': FlowError: The sub-flow failed: task ''breaks'': RuntimeError: it broke","traceback":"Traceback (most recent call last):\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 125, in run\n    self._finish(result)\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 167, in _finish\n    make_steps(host, host.steps(result))\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 418, in make_steps\n    step = next(steps)\n           ^^^^^^^^^^^\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 407, in _until_over\n    for call in calls:\n  File \"/srv/venv/mc/task_handlers/base_sub_flow_task_handler.py\", line 59, in tick_task\n    raise make_failure(sub_flow.status, failure, names, self.describe_sub_flow())\nmc.errors.FlowError: The sub-flow failed: task ''inner'': FlowError: The sub-flow failed: task ''breaks'': RuntimeError: it broke\n","at":"2026-01-01T12:00:00.000000+00:00"},"finished_at":"2026-01-01T12:00:00.000000+00:00"}');
INSERT INTO "mc_task" VALUES('failed','switch',2,16777216,'FAILED',0,NULL,'{"key":"switch","task_type":"switch","task_params":{"control_value":1,"default_case":{"task":{"key":"chosen","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"done","task_type":"noop"},{"key":"breaks","task_type":"fragile"}]}}}}},"data":{},"status":"FAILED","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","error":{"type":"FlowError","at":"2026-01-01T12:00:00.000000+00:00","message":"The sub-flow failed: task ''breaks'': RuntimeError: it broke","traceback":"Traceback (most recent call last):\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 125, in run\n    self._finish(result)\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 167, in _finish\n    make_steps(host, host.steps(result))\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 418, in make_steps\n    step = next(steps)\n           ^^^^^^^^^^^\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 407, in _until_over\n    for call in calls:\n  File \"/srv/venv/mc/task_handlers/base_sub_flow_task_handler.py\", line 59, in tick_task\n    raise make_failure(sub_flow.status, failure, names, self.describe_sub_flow())\nmc.errors.FlowError: The sub-flow failed: task ''breaks'': RuntimeError: it broke\n"},"kept":{"proxied_task":{"key":"chosen","task_type":"inline_flow","task_params":{"flow_spec":{"tasks":[{"key":"done","task_type":"noop"},{"key":"breaks","task_type":"fragile"}]}},"data":{},"status":"FAILED","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","initialised":true,"kept":{"flow_dict":{"schema_version":1,"key":"failed/switch/1","label":null,"version":null,"description":null,"cfg":{},"data":{},"params":null,"status":"FAILED","depth":1,"parent_key":"failed","parent_task_key":"switch","result_paths":null,"results":null,"error":null,"blocked_reason":null,"missing_handlers":null,"stopped_at":null,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":"2026-01-01T12:00:00.000000+00:00","deadline_at":null,"ticks":2,"spec":{"tasks":[{"key":"done","task_type":"noop"},{"key":"breaks","task_type":"fragile"}]},"num_tickable_tasks":0,"graph":{"tasks":{"ROOT":{"key":"ROOT","status":"COMPLETED","data":{}},"done":{"key":"done","task_type":"noop","task_params":{},"data":{},"status":"COMPLETED","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","finished_at":"2026-01-01T12:00:00.000000+00:00"},"breaks":{"key":"breaks","task_type":"fragile","task_params":{},"data":{},"status":"FAILED","attempt":1,"started_at":"2026-01-01T12:00:00.000000+00:00","error":{"type":"RuntimeError","message":"it broke","traceback":"Traceback (most recent call last):\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 123, in run\n    result = self.handler.call(self.task, self)\n             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/srv/venv/mc/flows/handlers/handler_registry.py\", line 206, in call\n    result = invoke(task, task_ctx)\n             ^^^^^^^^^^^^^^^^^^^^^^\n  File \"/srv/venv/mc/flows/handlers/handler_arguments.py\", line 76, in call\n    return self._function(*[_read(name, task, task_ctx) for name in self._positional], **given)\n           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/srv/tasks.py\", line 22, in fragile\n    raise RuntimeError(\"it broke\")\nRuntimeError: it broke\n","at":"2026-01-01T12:00:00.000000+00:00","types":["RuntimeError","Exception","BaseException","builtins.RuntimeError","builtins.Exception","builtins.BaseException"]},"finished_at":"2026-01-01T12:00:00.000000+00:00"}},"edges":[{"src_key":"ROOT","dest_key":"done"},{"src_key":"done","dest_key":"breaks"}],"order":["done","breaks"]}}},"error":{"type":"FlowError","message":"The sub-flow failed: task ''breaks'': RuntimeError: it broke","traceback":"Traceback (most recent call last):\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 125, in run\n    self._finish(result)\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 167, in _finish\n    make_steps(host, host.steps(result))\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 418, in make_steps\n    step = next(steps)\n           ^^^^^^^^^^^\n  File \"/srv/venv/mc/flows/calls/task_call.py\", line 407, in _until_over\n    for call in calls:\n  File \"/srv/venv/mc/task_handlers/base_sub_flow_task_handler.py\", line 59, in tick_task\n    raise make_failure(sub_flow.status, failure, names, self.describe_sub_flow())\nmc.errors.FlowError: The sub-flow failed: task ''breaks'': RuntimeError: it broke\n","at":"2026-01-01T12:00:00.000000+00:00","types":["FlowError","McError","Exception","BaseException","mc.errors.FlowError","mc.errors.McError","builtins.Exception","builtins.BaseException","RuntimeError","Exception","BaseException","builtins.RuntimeError","builtins.Exception","builtins.BaseException"]},"finished_at":"2026-01-01T12:00:00.000000+00:00"}},"finished_at":"2026-01-01T12:00:00.000000+00:00"}');
INSERT INTO "mc_task" VALUES('failed','end',3,33554432,'SKIPPED',1,NULL,'{"key":"end","task_type":"noop","task_params":{},"data":{},"status":"SKIPPED","attempt":0,"skipped_for":{"task":"switch","status":"FAILED"}}');
CREATE TABLE mc_tick (
	id VARCHAR(32) NOT NULL, 
	owner VARCHAR(255) NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	pid INTEGER NOT NULL, 
	started_at VARCHAR(32) NOT NULL, 
	ended_at VARCHAR(32), 
	one_flow INTEGER NOT NULL, 
	ticks INTEGER NOT NULL, 
	flows INTEGER NOT NULL, 
	tasks INTEGER NOT NULL, 
	errors INTEGER NOT NULL, turn BIGINT, 
	PRIMARY KEY (id)
);
INSERT INTO "mc_tick" VALUES('674c18376e71481fa763ccffc2e3ba67','host:15064:82f49dca','host',15064,'2026-01-01T12:00:00.000000+00:00','2026-01-01T12:00:00.000000+00:00',0,1,3,56,0,3);
CREATE TABLE mc_used_key (
	flow_key VARCHAR(255) NOT NULL, 
	deleted_at VARCHAR(32) NOT NULL, 
	PRIMARY KEY (flow_key)
)
 WITHOUT ROWID

;
CREATE TABLE mc_wake (
	flow_key VARCHAR(255) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	source_key VARCHAR(255) NOT NULL, 
	reason TEXT, 
	PRIMARY KEY (flow_key, kind, source_key), 
	FOREIGN KEY(flow_key) REFERENCES mc_flow ("key") ON DELETE CASCADE
)
 WITHOUT ROWID

;
CREATE INDEX mc_flow_created_at ON mc_flow (created_at);
CREATE INDEX mc_flow_next_tick_at ON mc_flow (next_tick_at);
CREATE INDEX mc_flow_spec_digest ON mc_flow (spec_digest);
CREATE INDEX mc_flow_status ON mc_flow (status, created_at);
CREATE INDEX mc_flow_waiter_key ON mc_flow (waiter_key);
CREATE INDEX mc_attempt_task ON mc_attempt (flow_key, task_key);
CREATE INDEX mc_event_flow_key ON mc_event (flow_key);
CREATE INDEX mc_tick_started_at ON mc_tick (started_at);
CREATE INDEX mc_task_frontier ON mc_task (flow_key, status, unmet);
CREATE INDEX mc_edge_dest ON mc_edge (flow_key, dest_key);
CREATE UNIQUE INDEX mc_signal_id ON mc_signal (flow_key, signal_id);
CREATE INDEX mc_signal_taken_at ON mc_signal (flow_key, taken_at);
CREATE INDEX mc_resource_claim_resource ON mc_resource_claim (resource, granted_at);
CREATE INDEX mc_resource_use_taken_at ON mc_resource_use (resource, taken_at);
COMMIT;
