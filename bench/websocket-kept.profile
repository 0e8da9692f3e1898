proto = ws
addr = 127.0.0.1:{port}
path = /ws?channel=bench:{room}
header = Authorization: Bearer {key}
expect = "welcome"
pub_path = /api/v1/publish
pub_method = POST
pub_header = Authorization: Bearer {key}
pub_header = Content-Type: application/json
pub_body = {"channels":["bench:{room}"],"event":"m","data":"{payload}"}
